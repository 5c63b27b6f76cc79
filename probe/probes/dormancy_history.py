"""Dormancy history: how long units have been dormant, and whether those of now were so before, over a series."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probe.probes.base import Finding, Findings, Probe, Reading, Status, register
from probe.probes.dormancy import dormant_units, overlap
from probe.probes.limits import NotNegatives
from probe.statistics.layer import LayerStatistics
from probe.subject import Point


@dataclass(frozen=True)
class Past:
    """What a layer's earlier checkpoints say of its units."""

    ages: Int[Tensor, "unit"]
    """Checkpoints in a row, up to the last one, at which each unit was dormant."""
    ever: Bool[Tensor, "unit"]
    """Whether it was dormant at any of them."""

    @classmethod
    def none(cls, units: int) -> "Past":
        """Returns the past before the first checkpoint."""
        return cls(torch.zeros(units, dtype=torch.long), torch.zeros(units, dtype=torch.bool))

    def after(self, dormant: Bool[Tensor, "unit"]) -> "Past":
        """Returns the past one checkpoint later."""
        return Past((self.ages + 1) * dormant, self.ever | dormant)

    def age(self) -> float | None:
        """Returns the mean age of the units that are dormant; None where none is."""
        ages = self.ages[self.ages > 0]
        return ages.double().mean().item() if len(ages) else None


@register("dormancy-history", version=1)
@dataclass(frozen=True)
class DormancyHistory(Probe):
    """For how many checkpoints the dormant units have been so, and how many of them were dormant at any time before.

    Question: do dormant units stay dormant, or do they take turns?
    Formula: X is the set of units with a score of at most tau, as in `dormancy`:
        - `dormant_age` (checkpoints; `thresholds`): mean over X of the checkpoints in a row, this one included, at
          which a unit has been in X
        - `dormant_historical_overlap` (share of units; `thresholds`): `|X and U| / min(|X|, |U|)`, U the units that
          were dormant at any earlier checkpoint
    Axes: one layer at one checkpoint, in the light of the checkpoints before it. Modules average the age by dormant
        units (`micro`) and by layers (`macro`).
    Units: the age is at most the number of checkpoints so far; an age of 1 is a unit that has just fallen dormant. The
        overlap lies in [0, 1].
    Cost: none beyond the one pass; it reads the statistics of all checkpoints.
    Status: `not_applicable` and null where no unit is dormant, for the overlap also where none was before;
        `degenerate` where the layer is silent everywhere, of which every unit counts as dormant; null and `nonfinite`
        with NaN or infinity, a checkpoint that is passed over.
    Source: overlap with the historical set, Sokar et al. 2023, arXiv:2302.12902, Figure 5; the age is this project's
        own.
    Do not trust: ages of series with unlike distances between checkpoints, or across a reset, after which units are
        others; a unit that woke up between two checkpoints was never seen awake. U only grows, so the overlap rises by
        itself.
    """

    thresholds: NotNegatives = (0.0, 0.025, 0.1)
    """Dormancy thresholds tau."""
    needs = "series"
    reads = frozenset({"mean_abs"})

    def measure_series(self, points: Sequence[Point]) -> Sequence[Findings]:
        """Returns every layer's ages and overlaps at every checkpoint."""
        pasts: dict[tuple[str, float], Past] = {}
        found = []
        for point in points:
            readings: list[Finding] = []
            for layer, statistics in point.statistics.items():
                for tau in self.thresholds:
                    past = pasts.get((layer, tau), Past.none(statistics.units))
                    if len(past.ages) != statistics.units:
                        past = Past.none(statistics.units)
                    own, pasts[layer, tau] = _at(statistics, tau, past)
                    readings += [Finding(each, layer, units=statistics.units) for each in own]
            found.append(Findings(readings))
        return found


def _at(statistics: LayerStatistics, tau: float, past: Past) -> tuple[list[Reading], Past]:
    """Returns a layer's readings at one checkpoint, and its past with this checkpoint in it."""
    if not statistics.finite:
        return list(_readings(None, None, "nonfinite", tau, statistics.units)), past
    dormant = dormant_units(statistics.mean_abs, tau)
    now = past.after(dormant)
    status: Status = "ok" if bool(statistics.mean_abs.any()) else "degenerate"
    return list(_readings(now.age(), overlap(dormant, past.ever), status, tau, int(dormant.sum()))), now


def _readings(age: float | None, shared: float | None, status: Status, tau: float, weight: int) -> Iterator[Reading]:
    for metric, value in (("dormant_age", age), ("dormant_historical_overlap", shared)):
        missing: Status = status if status == "nonfinite" else "not_applicable"
        weighted = weight if metric == "dormant_age" else None
        yield Reading(metric, value, missing if value is None else status, tau, weight=weighted)
