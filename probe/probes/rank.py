"""Rank: how many directions a layer's features use, by the field's several formulas."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probe.probes.base import Probe, Reading, Status, register
from probe.probes.limits import InnerShare, NotNegative
from probe.statistics.layer import LayerStatistics

SAMPLES_PER_UNIT = 10
"""Samples a unit below which a spectrum is still visibly biased (a full-rank Gaussian of 256 units reads 249 at 5)."""


def rank_tolerance(largest: float, samples: int, units: int) -> float:
    """Returns the singular value up to which float64 cannot tell a direction from rounding: s1 max(N, D) eps."""
    return largest * max(samples, units) * torch.finfo(torch.float64).eps


def without_rounding(spectrum: Float[Tensor, "rank"], tolerance: float) -> Float[Tensor, "rank"]:
    """Returns the singular values with those at or below the tolerance set to zero."""
    return torch.where(spectrum > tolerance, spectrum, 0.0)


def effective_rank(spectrum: Float[Tensor, "rank"]) -> float | None:
    """Returns exp(-sum p ln p), p = s / sum s, 0 ln 0 = 0 (Roy & Vetterli 2007); None for a zero matrix."""
    total = spectrum.sum()
    return torch.special.entr(spectrum / total).sum().exp().item() if total > 0 else None


def srank(spectrum: Float[Tensor, "rank"], delta: float) -> int:
    """Returns the least k with sum_{i<=k} s_i >= (1 - delta) sum s (Kumar et al. 2021); 0 for a zero matrix."""
    cumulative = spectrum.cumsum(0)
    if not len(cumulative) or cumulative[-1] == 0:
        return 0
    return int((cumulative < (1 - delta) * cumulative[-1]).sum()) + 1


def approximate_rank(spectrum: Float[Tensor, "rank"], delta: float) -> int:
    """Returns the least k whose squared singular values make up 1 - delta of all: the PCA rank; 0 for a zero matrix."""
    return srank(spectrum.square(), delta)


def stable_rank(spectrum: Float[Tensor, "rank"]) -> float | None:
    """Returns sum s^2 / s_1^2; None for a zero matrix."""
    largest = spectrum.max() if len(spectrum) else torch.tensor(0.0)
    return (spectrum / largest).square().sum().item() if largest > 0 else None


def participation_ratio(spectrum: Float[Tensor, "rank"]) -> float | None:
    """Returns (sum s^2)^2 / sum s^4; None for a zero matrix."""
    total = spectrum.sum()
    if total == 0:
        return None
    energy = (spectrum / total).square()
    return (energy.sum().square() / energy.square().sum()).item()


def feature_rank(spectrum: Float[Tensor, "rank"], epsilon: float, samples: int | None = None) -> int:
    """Returns #{s_i > epsilon}, or with `samples` #{s_i / sqrt(N) > epsilon} (Lyle et al. 2022)."""
    scale = 1.0 if samples is None else samples**0.5
    return int((spectrum / scale > epsilon).sum())


def numeric_rank(spectrum: Float[Tensor, "rank"], tolerance: float = 0.0) -> int:
    """Returns the number of singular values above the tolerance."""
    return int((spectrum > tolerance).sum())


@register("rank", version=1)
@dataclass(frozen=True)
class Rank(Probe):
    """Effective rank, srank and kin of the feature matrix, as it is and with its column means taken out (`_centred`).

    Question: how many directions of a layer's feature space do the observations use?
    Formula: of the features' singular values `s_1 >= s_2 >= ...`, where those up to `s_1 max(N, D) eps`, s_1 being the
        matrix's before centring, are rounding and taken as zero throughout:
        - `effective_rank` (directions): `exp(-sum p ln p)`, `p = s / sum s`
        - `srank` (directions; `delta`): least k that holds `1 - delta` of `sum s`
        - `approximate_rank` (directions; `delta`): least k that holds `1 - delta` of `sum s^2`
        - `stable_rank` (directions): `sum s^2 / s_1^2`
        - `participation_ratio` (directions): `(sum s^2)^2 / sum s^4`
        - `feature_rank_scaled` (directions; `epsilon`): `#{s_i / sqrt(N) > epsilon}`
        - `feature_rank_unscaled` (directions; `epsilon`): `#{s_i > epsilon}`
        - `numeric_rank` (directions): `#{s_i > 0}`, what is above rounding
        - `<rank>_centred` (directions; `delta` or `epsilon`): each of these for the features less their column means
    Axes: N samples by D units; a convolution's and a sequence's features are the means over positions. D of a CReLU or
        Fourier layer is both halves; N of a recurrent layer is time steps.
    Units: a number of directions, at most D.
    Cost: none beyond the one forward pass, in which a streaming QR keeps what the singular values need.
    Status: null and `low_sample` below D samples, a value and `low_sample` below 10 D; of a zero matrix (a silent
        layer; centred, a constant one) `degenerate`: counts 0, the ratios and the entropy null; null and
        `not_applicable` above 4,096 units, where no spectrum is kept; null and `nonfinite` on NaN or infinity.
    Source: Roy & Vetterli 2007; Kumar et al. 2021, arXiv:2010.14498 (srank; some code calls it "stable rank"); Moalla
        et al. 2024, arXiv:2405.00662 (PCA rank); Lyle et al. 2022, arXiv:2204.09560 (feature rank, which public code
        has with and without 1/sqrt(N)).
    Do not trust: comparisons at unequal N, all grow with it; stable rank of rectified features as they are, which the
        mean direction dominates; the unscaled feature rank, which grows with N by itself. No rank is a verdict alone.
    """

    delta: InnerShare = 0.01
    """Share of the sum that srank and the approximate rank may leave out."""
    epsilon: NotNegative = 0.01
    """Size that a singular value must exceed to count for the feature ranks."""
    reads = frozenset({"factor"})

    def compute(self, layer: str, statistics: LayerStatistics) -> list[Reading]:
        """Returns every rank of the feature matrix, then every rank of the centred one."""
        samples, units = statistics.rank_samples, statistics.units
        raw = statistics.singular_values()
        tolerance = rank_tolerance(raw.max().item() if len(raw) else 0.0, samples, units)
        readings = []
        for suffix, spectrum in (("", raw), ("_centred", statistics.singular_values(centred=True))):
            values = self._ranks(without_rounding(spectrum, tolerance), samples)
            for metric, (value, threshold) in values.items():
                status = _status(samples, units, spectrum, tolerance)
                known = samples >= units and status not in ("not_applicable", "nonfinite")
                readings.append(Reading(metric + suffix, value if known else None, status, threshold))
        return readings

    def _ranks(self, spectrum: Tensor, samples: int) -> dict[str, tuple[float | None, float | None]]:
        """Returns (value, threshold) by metric."""
        return {
            "effective_rank": (effective_rank(spectrum), None),
            "srank": (srank(spectrum, self.delta), self.delta),
            "approximate_rank": (approximate_rank(spectrum, self.delta), self.delta),
            "stable_rank": (stable_rank(spectrum), None),
            "participation_ratio": (participation_ratio(spectrum), None),
            "feature_rank_scaled": (feature_rank(spectrum, self.epsilon, max(samples, 1)), self.epsilon),
            "feature_rank_unscaled": (feature_rank(spectrum, self.epsilon), self.epsilon),
            "numeric_rank": (numeric_rank(spectrum), None),
        }


def _status(samples: int, units: int, spectrum: Tensor, tolerance: float) -> Status:
    if samples == 0:
        return "not_applicable"
    if samples < units:
        return "low_sample"
    if not bool(spectrum.isfinite().all()):
        return "nonfinite"
    if not bool((spectrum > tolerance).any()):
        return "degenerate"
    return "low_sample" if samples < SAMPLES_PER_UNIT * units else "ok"
