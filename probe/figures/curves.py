"""Numbers over training: one curve a seed, and their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from probe.arrays import NDArray


@dataclass(frozen=True)
class Curve:
    """One metric of one seed over its checkpoints, in step order; an undefined value is NaN."""

    series: str
    seed: int
    steps: Int[NDArray[Any], "step"]
    values: Float[NDArray[Any], "step"]
    low_sample: Bool[NDArray[Any], "step"]


def curve_of(series: str, seed: int, points: Mapping[int, tuple[float, str]]) -> Curve:
    """Makes a curve from (value, status) by step."""
    steps = sorted(points)
    values = np.array([points[step][0] for step in steps], dtype=np.float64)
    low = np.array([points[step][1] == "low_sample" for step in steps], dtype=bool)
    return Curve(series, seed, np.array(steps, dtype=np.int64), values, low)


def by_series(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Groups the seeds of every series."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.series, []).append(curve)
    return groups


def mean_over_seeds(seeds: Sequence[Curve]) -> Curve:
    """Averages the seeds of one series; NaN at a step where any seed has no number, so the mean is of the same seeds.

    Returns:
        The mean over the steps that any seed has, with seed -1; low_sample where it is so for any seed.
    """
    steps = np.unique(np.concatenate([curve.steps for curve in seeds]))
    table = np.full((len(seeds), len(steps)), np.nan)
    low = np.zeros(len(steps), dtype=bool)
    for row, curve in enumerate(seeds):
        places = np.searchsorted(steps, curve.steps)
        table[row, places] = curve.values
        low[places] |= curve.low_sample
    return Curve(seeds[0].series, -1, steps, table.mean(axis=0), low)
