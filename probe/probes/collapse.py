"""Collapse: when a layer fell silent, by which sign, for how long, and whether it came back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from probe.probes.base import Finding, Findings, Probe, Reading, Status, register
from probe.probes.dormancy import dormant_units
from probe.probes.limits import Limits, NotNegative, Share
from probe.probes.rank import effective_rank, rank_tolerance, without_rounding
from probe.statistics.layer import LayerStatistics
from probe.subject import Point


def unit_deviations(statistics: LayerStatistics) -> Float[Tensor, "unit"]:
    """Returns each unit's standard deviation over samples and positions.

    The variance from sums loses about 1e-7 of the squared mean to rounding; half the range, which is exact, bounds it,
    so that a constant unit has none.
    """
    variance = (statistics.mean_square - statistics.mean.square()).clamp(min=0.0)
    return torch.minimum(variance.sqrt(), (statistics.maximum - statistics.minimum) / 2)


def is_rectified(statistics: LayerStatistics) -> bool:
    """Whether no output lies below zero: only then does h > 0 mean active."""
    return bool((statistics.minimum >= 0).all())


def fraction_active(statistics: LayerStatistics) -> float | None:
    """Returns the fraction of active units (FAU) of a rectified layer; None for any other."""
    return statistics.activation_rate.mean().item() if is_rectified(statistics) else None


def feature_effective_rank(statistics: LayerStatistics) -> float | None:
    """Returns the feature matrix's effective rank; None below two units, below as many samples, or with no spectrum."""
    samples, units = statistics.rank_samples, statistics.units
    if units < 2 or samples < units:
        return None
    spectrum = statistics.singular_values()
    return effective_rank(without_rounding(spectrum, rank_tolerance(spectrum.max().item(), samples, units)))


@dataclass(frozen=True)
class Past:
    """What a layer's past comes to at one checkpoint."""

    since: int | None = None
    """First checkpoint of the present collapse; None while the layer works."""
    revivals: int = 0
    past_steps: int = 0
    """Steps of the collapses that ended."""

    def after(self, step: int, collapsed: bool) -> "Past":
        """Returns the past one checkpoint later; a collapse lasts until the first checkpoint that shows it over."""
        if self.since is None:
            return Past(step if collapsed else None, self.revivals, self.past_steps)
        if collapsed:
            return self
        return Past(None, self.revivals + 1, self.past_steps + step - self.since)

    def readings(self, step: int, collapsed: bool) -> Iterator[Reading]:
        """Yields when the present collapse began, how long it has lasted, and all collapses so far."""
        lasted = None if self.since is None else step - self.since
        status: Status = "ok" if collapsed else "not_applicable"
        yield Reading("silent_since_step", self.since, status)
        yield Reading("collapse_duration", lasted, status)
        yield Reading("collapsed_steps", self.past_steps + (lasted or 0))
        yield Reading("revivals", self.revivals)


@register("collapse", version=1)
@dataclass(frozen=True)
class Collapse(Probe):
    """Whether a layer has collapsed, by which sign, since when, and how often it came back, over a series.

    Question: when did a layer fall silent, when did it come back, and for how long was it gone?
    Formula: five signs, each enough by itself, one change that is none, and the layer's past:
        - `collapsed` (flag): 1 where any of the five signs is
        - `collapsed_silent` (flag): `h = 0` throughout
        - `collapsed_dormant` (flag; `dormant_share`): at least `dormant_share` of the units have
          `E|h_i| <= tau mean_k E|h_k|`
        - `collapsed_fau` (flag; `least_fau`): fraction of active units below `least_fau`
        - `collapsed_rank` (flag; `least_rank`): effective rank of the features below `least_rank`
        - `collapsed_constant` (flag; `least_deviation`): standard deviation below `least_deviation` in at least
          `constant_share` of the units
        - `change_point` (flag; `fau_drop`): the fraction of active units fell by more than `fau_drop` of its first
          value; no sign of collapse, a network that learns grows sparser too
        - `silent_since_step` (steps): first step of the present collapse
        - `collapse_duration` (steps): since then
        - `collapsed_steps` (steps): of all collapses so far
        - `revivals` (count): collapses that ended
    Axes: one layer at one checkpoint, in the light of the checkpoints before it; statistics run over samples and
        positions. Modules average `collapsed`: the share of their units in collapsed layers (`micro`), and of their
        layers (`macro`).
    Units: flags are 0 or 1, which is yes; steps are agent decisions, summed over the environments.
    Cost: none beyond the one forward pass; it reads the statistics of all checkpoints.
    Status: `silent_since_step` and `collapse_duration` null and `not_applicable` while the layer works; a flag is so
        where its sign has no meaning (FAU of a layer with outputs below zero; rank of one unit, with fewer samples than
        units, or with no spectrum); null and `nonfinite` with NaN or infinity, which neither begins nor ends a
        collapse.
    Source: the signs are those of Sokar et al. 2023, arXiv:2302.12902, Ma et al. 2024, arXiv:2310.07418, and Moalla et
        al. 2024, arXiv:2405.00662; the thresholds are this project's own.
    Do not trust: times finer than the distance of the checkpoints; a layer that comes back between two of them was
        never seen to fall; the fraction of active units of CReLU, which is 0.5 whatever happens. Deviations below 3e-4
        of a unit's mean are rounding.
    """

    needs = "series"
    reads = frozenset({"mean_abs", "mean_square", "activation_rate", "factor"})

    tau: NotNegative = 0.025
    """Score at or below which a unit counts as dormant."""
    dormant_share: Share = 0.9
    """Share of dormant units from which a layer has collapsed."""
    least_fau: Annotated[float, Limits(least=0, most=1)] = 0.05
    """Fraction of active units below which it has."""
    least_rank: Annotated[float, Limits(least=1)] = 1.5
    """Effective rank below which it has."""
    least_deviation: NotNegative = 1e-3
    """Standard deviation below which a unit counts as constant."""
    constant_share: Share = 0.9
    """Share of constant units from which a layer has collapsed."""
    fau_drop: Annotated[float, Limits(least=0, most=1)] = 0.5
    """Loss of active units, as a share of the first checkpoint's, beyond which a change point is flagged."""

    def measure_series(self, points: Sequence[Point]) -> Sequence[Findings]:
        """Returns every layer's flags and past at every checkpoint."""
        pasts: dict[str, Past] = {}
        first_fau: dict[str, float | None] = {}
        found = []
        for point in points:
            readings: list[Finding] = []
            for layer, statistics in point.statistics.items():
                if layer not in first_fau and statistics.finite:
                    first_fau[layer] = fraction_active(statistics)
                past = pasts.get(layer, Past())
                own, pasts[layer] = self._at(point.step, statistics, past, first_fau.get(layer))
                readings += [Finding(reading, layer, units=statistics.units) for reading in own]
            found.append(Findings(readings))
        return found

    def _at(
        self, step: int, statistics: LayerStatistics, past: Past, first_fau: float | None
    ) -> tuple[list[Reading], Past]:
        """Returns a layer's readings at one checkpoint, and its past with this checkpoint in it."""
        if not statistics.finite:
            names = (*(f"collapsed_{sign}" for sign in _SIGNS), "change_point", *_PAST)
            whole = Reading("collapsed", None, "nonfinite", weight=statistics.units)
            return [whole, *(Reading(name, None, "nonfinite") for name in names)], past
        flags = self.signs(statistics)
        collapsed = any(flag for flag, _ in flags.values())
        now = past.after(step, collapsed)
        fau = fraction_active(statistics)
        # Of a layer that was silent from the start nothing can fall; of one that is not rectified no FAU is known.
        fell = None if fau is None or first_fau is None else fau < (1 - self.fau_drop) * first_fau
        return [
            Reading("collapsed", int(collapsed), weight=statistics.units),
            *(_flag(f"collapsed_{name}", flag, threshold) for name, (flag, threshold) in flags.items()),
            _flag("change_point", fell, self.fau_drop),
            *now.readings(step, collapsed),
        ], now

    def signs(self, statistics: LayerStatistics) -> Mapping[str, tuple[bool | None, float | None]]:
        """Returns each sign of a collapse with its threshold; None where the sign has no meaning for the layer."""
        fau, rank = fraction_active(statistics), feature_effective_rank(statistics)
        dormant = dormant_units(statistics.mean_abs, self.tau).double().mean().item()
        still = (unit_deviations(statistics) < self.least_deviation).double().mean().item()
        return {
            "silent": (not bool(statistics.mean_abs.any()), None),
            "dormant": (dormant >= self.dormant_share, self.dormant_share),
            "fau": (None if fau is None else fau < self.least_fau, self.least_fau),
            "rank": (None if rank is None else rank < self.least_rank, self.least_rank),
            "constant": (still >= self.constant_share, self.least_deviation),
        }


_SIGNS = ("silent", "dormant", "fau", "rank", "constant")
_PAST = ("silent_since_step", "collapse_duration", "collapsed_steps", "revivals")


def _flag(name: str, value: bool | None, threshold: float | None) -> Reading:
    if value is None:
        return Reading(name, None, "not_applicable", threshold)
    return Reading(name, int(value), "ok", threshold)
