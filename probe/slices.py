"""The loss along a line through a network's parameters, as in the direction of its gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from probe.curvature import Objectives, chunks_of, flattened, hessian_product, shaped


@dataclass(frozen=True)
class GradientSlice:
    """A mean objective along its negative normalised gradient, v = -g / |g|."""

    curvature: float
    """v' H v, H the Hessian of the mean objective."""
    distances: Float[Tensor, "distance"]
    """Ascending; 0 in the middle, positive where the gradient says that the objective falls."""
    losses: Float[Tensor, "observation distance"]
    """Of every observation alone."""

    @property
    def means(self) -> Float[Tensor, "distance"]:
        """The mean objective at each distance; not finite where it overflowed."""
        return self.losses.mean(0)

    @property
    def decrease(self) -> float | None:
        """Largest fall of the mean objective over the mean size of its terms; None where all terms are 0.

        Of a loss that is never negative it is a share of the loss; the terms of a policy's loss cancel in their mean.
        An overflow on the way is no fall, and one at 0 gives a number that is not finite.
        """
        here, means = self.losses[:, len(self.distances) // 2], self.means
        scale = here.abs().mean()
        lowest = torch.where(means.isfinite(), means, torch.inf).min()
        return ((here.mean() - lowest) / scale).item() if scale != 0 else None


def mean_gradient(objectives: Objectives) -> Float[Tensor, "parameter"]:
    """Returns the gradient of the mean objective, flat and float64, in bounded memory."""
    gradient, count, parameters = grad(objectives.mean), len(objectives.observations), objectives.parameters
    total = torch.zeros_like(flattened(parameters))
    for rows in chunks_of(count):
        total += flattened(gradient(parameters, rows)) * ((rows.stop - rows.start) / count)
    return total


@torch.no_grad()
def losses_along(
    objectives: Objectives, direction: Float[Tensor, "parameter"], distances: Float[Tensor, "distance"]
) -> Float[Tensor, "observation distance"]:
    """Returns the objective of every observation at parameters + distance * direction; one copy of them at a time."""
    parameters, columns = objectives.parameters, []
    steps = shaped(direction, parameters)
    for distance in distances.tolist():
        moved = {name: each + distance * steps[name] for name, each in parameters.items()}
        parts = [objectives.each(moved, rows).double() for rows in chunks_of(len(objectives.observations))]
        columns.append(torch.cat(parts))
    return torch.stack(columns, dim=1)


def gradient_slice(objectives: Objectives, steps: Sequence[float], least: float) -> GradientSlice | None:
    """Returns the slice of a mean objective along its gradient; the network keeps its parameters.

    Args:
        objectives: Whose mean is the objective.
        steps: Positive lengths, as shares of the norm of all parameters; each is taken in both directions.
        least: Norm up to which a gradient is rounding and has no direction.

    Returns:
        None where the gradient has no direction, or the parameters are zero and so have no scale.
    """
    gradient = mean_gradient(objectives)
    length, scale = gradient.norm().item(), flattened(objectives.parameters).norm().item()
    if length <= least or scale == 0:
        return None
    direction = -gradient / length
    ahead = scale * torch.tensor(sorted(steps), dtype=torch.float64)
    distances = torch.cat([-ahead.flip(0), torch.zeros(1, dtype=torch.float64), ahead])
    curvature = torch.dot(direction, hessian_product(objectives)(direction)).item()
    return GradientSlice(curvature, distances, losses_along(objectives, direction, distances))
