"""Dormancy: which units are small beside their layer's own mean, how many, and whether they stay so."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probe.probes.base import Probe, Reading, Status, register
from probe.probes.limits import NotNegatives
from probe.statistics.layer import LayerStatistics


def dormancy_scores(unit_means: Float[Tensor, "unit"]) -> Float[Tensor, "unit"]:
    """Returns Sokar's score s_i = m_i / mean_k m_k, m_i = E|h_i|; all zero where the whole layer is silent."""
    layer_mean = unit_means.mean()
    return unit_means / layer_mean if layer_mean > 0 else torch.zeros_like(unit_means)


def dormant_units(unit_means: Float[Tensor, "unit"], tau: float) -> Bool[Tensor, "unit"]:
    """Returns which units score tau or less."""
    return dormancy_scores(unit_means) <= tau


def overlap(first: Bool[Tensor, "unit"], second: Bool[Tensor, "unit"]) -> float | None:
    """Returns |X and Y| / min(|X|, |Y|); None where a set is empty. A small set inside a large one gives 1."""
    return _ratio((first & second).sum(), torch.minimum(first.sum(), second.sum()))


def retention(earlier: Bool[Tensor, "unit"], later: Bool[Tensor, "unit"]) -> float | None:
    """Returns |earlier and later| / |earlier|, the share of dormant units that stay so; None where there were none."""
    return _ratio((earlier & later).sum(), earlier.sum())


def jaccard(first: Bool[Tensor, "unit"], second: Bool[Tensor, "unit"]) -> float | None:
    """Returns |X and Y| / |X or Y|; None where a set is empty."""
    return _ratio((first & second).sum(), (first | second).sum()) if first.any() and second.any() else None


def persistence(earlier: Bool[Tensor, "unit"], later: Bool[Tensor, "unit"]) -> float | None:
    """Returns (retention - p) / (1 - p) with p the later dormant share: 0 is what chance gives, 1 is death.

    None where no unit was dormant, or where all are now: then chance gives 1 too.
    """
    kept, chance = retention(earlier, later), later.double().mean().item()
    return None if kept is None or chance == 1 else (kept - chance) / (1 - chance)


def overlap_matrix(unit_means: Float[Tensor, "step unit"], tau: float) -> Float[Tensor, "step step"]:
    """Returns the overlap of the dormant sets of every two checkpoints; NaN where a set is empty.

    Args:
        unit_means: E|h| per unit, one row a checkpoint.
        tau: Threshold on the score.
    """
    dormant = torch.stack([dormant_units(means, tau) for means in unit_means]).double()
    sizes = dormant.sum(dim=1)
    # 0/0 is NaN, and an empty set makes both zero.
    return (dormant @ dormant.T) / torch.minimum(sizes[:, None], sizes[None, :])


_PAIR_MEASURES = {
    "dormant_overlap": overlap,
    "dormant_retention": retention,
    "dormant_jaccard": jaccard,
    "dormant_persistence": persistence,
}


@register("dormancy", version=1)
@dataclass(frozen=True)
class Dormancy(Probe):
    """Fraction of units whose mean activation is at or below tau times the layer's mean, and how far that set lasts.

    Question: which share of a layer hardly takes part, and are these the same units as before?
    Formula: a unit is dormant where its score `s_i = E|h_i| / mean_k E|h_k|` is at most tau. X are the units that are
        dormant at an earlier checkpoint, Y those at a later one, and `p = |Y| / units`:
        - `dormant_fraction` (share of units; `thresholds`): `mean_i 1(s_i <= tau)`
        - `dormant_overlap` (share; `thresholds`): `|X and Y| / min(|X|, |Y|)`
        - `dormant_retention` (share; `thresholds`): `|X and Y| / |X|`, the dormant units that stay so
        - `dormant_jaccard` (share; `thresholds`): `|X and Y| / |X or Y|`
        - `dormant_persistence` (index; `thresholds`): `(dormant_retention - p) / (1 - p)`: 0 is what chance gives, 1 is
          death
    Axes: the mean of |h| runs over samples and positions; a unit of a convolution is a channel, of a CReLU or Fourier
        layer one half of a pair. A recurrent layer's samples are time steps.
    Units: fractions in [0, 1], persistence at most 1; thresholds are dimensionless.
    Cost: none beyond the one forward pass; another threshold needs no new one.
    Status: `degenerate` and 1.0 where the layer is silent everywhere; pair measures `not_applicable` and null where a
        set they divide by is empty or the layer changed its width, `degenerate` where a layer is silent; null and
        `nonfinite` on NaN or infinity.
    Source: Sokar et al. 2023, arXiv:2302.12902, Definition 3.1 and Figure 5. The scores' mean is 1, not their sum.
    Do not trust: tau = 0 where outputs are never exactly zero (leaky ReLU, GELU); any tau with tanh or sigmoid, whose
        saturated units score high; CReLU's pairs as lost where one half is dormant, the other may be linear; sets
        compared across runs or a re-initialisation, where units have no identity. The fraction at tau = 0 falls as
        samples are added, so compare at equal counts.
    """

    thresholds: NotNegatives = (0.0, 0.025, 0.1)
    """Values of tau."""
    reads = frozenset({"mean_abs"})

    def compute(self, layer: str, statistics: LayerStatistics) -> list[Reading]:
        """Returns the dormant fraction at each threshold."""
        status: Status = "degenerate" if _silent(statistics) else "ok"
        return [
            Reading(
                "dormant_fraction",
                dormant_units(statistics.mean_abs, tau).double().mean().item(),
                status,
                threshold=tau,
                weight=statistics.units,
            )
            for tau in self.thresholds
        ]

    def compare(self, layer: str, earlier: LayerStatistics, later: LayerStatistics) -> list[Reading]:
        """Returns overlap, retention, Jaccard index and persistence of the dormant sets at each threshold."""
        silent = _silent(earlier) or _silent(later)
        readings = []
        for tau in self.thresholds:
            sets = dormant_units(earlier.mean_abs, tau), dormant_units(later.mean_abs, tau)
            for metric, measure in _PAIR_MEASURES.items():
                value = measure(*sets) if earlier.units == later.units else None
                status: Status = "not_applicable" if value is None else "degenerate" if silent else "ok"
                readings.append(Reading(metric, value, status, threshold=tau))
        return readings


def _silent(statistics: LayerStatistics) -> bool:
    return not bool(statistics.mean_abs.any())


def _ratio(part: Tensor, whole: Tensor) -> float | None:
    return int(part) / int(whole) if whole else None
