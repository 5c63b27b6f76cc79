"""Covariances between the units of two layers, as rows stream by, and what compares layers by them."""

import torch
from jaxtyping import Float
from torch import Tensor


class CrossCovariance:
    """Additive float64 sums over paired rows, of differences to the first batch's means, which rounding needs.

    Takes one number a pair of units, whatever the number of rows.

    Attributes:
        samples: Pairs of rows seen.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self.samples = 0
        self._origins = self._totals = (torch.zeros(0), torch.zeros(0))
        self._products = torch.zeros(0, 0)

    def update(self, first: Float[Tensor, "batch unit"], second: Float[Tensor, "batch other"]) -> None:
        """Adds a batch of rows of both layers on the same observations."""
        pair = (first.double(), second.double())
        if not self.samples:
            self._origins = (pair[0].mean(0), pair[1].mean(0))
            self._totals = (torch.zeros_like(self._origins[0]), torch.zeros_like(self._origins[1]))
            self._products = torch.zeros(first.shape[1], second.shape[1], dtype=torch.float64)
        moved = (pair[0] - self._origins[0], pair[1] - self._origins[1])
        self.samples += len(first)
        self._totals = (self._totals[0] + moved[0].sum(0), self._totals[1] + moved[1].sum(0))
        self._products.addmm_(moved[0].T, moved[1])

    @property
    def means(self) -> tuple[Float[Tensor, "unit"], Float[Tensor, "other"]]:
        """Mean row of each layer."""
        return (
            self._origins[0] + self._totals[0] / self.samples,
            self._origins[1] + self._totals[1] / self.samples,
        )

    @property
    def value(self) -> Float[Tensor, "unit other"]:
        """The covariance, divided by the number of rows."""
        drift = torch.outer(self._totals[0], self._totals[1]) / self.samples
        return (self._products - drift) / self.samples


def linear_cka(
    cross: Float[Tensor, "unit other"], first: Float[Tensor, "unit unit"], second: Float[Tensor, "other other"]
) -> float | None:
    """Returns |cov(X, Y)|^2 / (|cov(X, X)| |cov(Y, Y)|), Frobenius norms; None where a layer does not vary.

    Source: Kornblith et al. 2019, arXiv:1905.00414. In [0, 1]; the same under scale, shift and rotation of either.
    """
    norms = torch.linalg.matrix_norm(first) * torch.linalg.matrix_norm(second)
    return (torch.linalg.matrix_norm(cross).square() / norms).item() if norms > 0 else None
