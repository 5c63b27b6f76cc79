"""Detections as the rows of an analysis hold them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan, nan
from typing import Any

import numpy as np

from probe.arrays import NDArray
from probe.detection.verdict import MAXIMUM_PAIRS, MEASURES, Comparison, Measure, Verdict, compare, decide
from probe.results.rows import NONE, Columns

NAME = "detect"
"""Of the probe in rows and tables."""
INJECTED = "injected"
CURVE = "return_curve"
"""Mean return of the episodes that ended in one of equal stretches of the budget, at the stretch's end."""

Points = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps and values, of equal length."""


def settings_digest(version: int, parameters: str) -> str:
    """Returns the SHA-256 by which rows name a detection's settings, in the place of an observation set."""
    return hashlib.sha256(f"{NAME} {version} {parameters}".encode()).hexdigest()


@dataclass(frozen=True)
class Detection:
    """One module at one step of a run: what every arm came to, by pair."""

    run: str
    method: str
    seed: int
    step: int
    """Of the fork."""
    module: str
    cut: str
    settings: Mapping[str, Any] = field(repr=False)
    """What the arms were made with."""
    values: Mapping[str, Mapping[int, Mapping[str, float]]] = field(repr=False)
    """By arm, pair and metric; NaN where there is no number."""
    curves: Mapping[str, Mapping[int, Points]] = field(repr=False)
    """(steps since the fork, return) by arm and pair."""

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        return str(self.settings["reference"])

    @property
    def budget(self) -> int:
        """Steps of each arm."""
        return int(self.settings["budget"])

    @property
    def place(self) -> str:
        """The module and where it was injected, in words."""
        return f"{'actor and critic' if self.module == 'both' else self.module}, from {self.cut} on"

    def draws(self, arm: str) -> list[int]:
        """Returns the pairs that an arm and the reference both have."""
        return sorted(self.values.get(arm, {}).keys() & self.values.get(self.reference, {}).keys())

    def comparisons(self, arm: str = INJECTED) -> list[Comparison]:
        """Returns the measures of an arm beside the reference's; none without pairs."""
        draws = self.draws(arm)[:MAXIMUM_PAIRS]
        first, second = self.values.get(self.reference, {}), self.values.get(arm, {})
        shared = [each for each in MEASURES if any(each.name in first[k] and each.name in second[k] for k in draws)]
        if not shared:
            return []
        return compare({each: [_pair(first[draw], second[draw], each) for draw in draws] for each in shared})

    @cached_property
    def verdict(self) -> Verdict:
        """Whether plasticity was lost."""
        return decide(self.comparisons())


def read_detections(rows: Columns, probes: Sequence[Mapping[str, Any]]) -> list[Detection]:
    """Returns every detection among rows, in order of series, step and module.

    Args:
        rows: Of an analysis, with those of other probes.
        probes: The analysis's table of probes, which has the settings.
    """
    settings = {
        settings_digest(each["version"], each["parameters"]): json.loads(each["parameters"])
        for each in probes
        if each["name"] == NAME
    }
    chosen = np.flatnonzero((rows["probe"] == NAME) & (rows["draw"] != NONE) & np.isin(rows["data"], list(settings)))
    identity = ("run", "method", "seed", "reference_step", "module", "layer", "data")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index in chosen.tolist():
        groups.setdefault(tuple(rows[name][index] for name in identity), []).append(index)
    ordered = sorted(groups, key=lambda key: tuple(str(part).zfill(12) for part in key))
    return [_detection(key, settings[key[-1]], rows, groups[key]) for key in ordered]


def _detection(key: tuple[Any, ...], settings: Mapping[str, Any], rows: Columns, indices: Sequence[int]) -> Detection:
    run, method, seed, step, module, cut, _ = key
    values: dict[str, dict[int, dict[str, float]]] = {}
    points: dict[str, dict[int, dict[int, float]]] = {}
    for index in indices:
        arm, draw, metric = str(rows["arm"][index]), int(rows["draw"][index]), str(rows["metric"][index])
        value = float(rows["value"][index])
        if metric == CURVE:
            points.setdefault(arm, {}).setdefault(draw, {})[int(rows["step"][index]) - int(step)] = value
        else:
            values.setdefault(arm, {}).setdefault(draw, {})[metric] = value
    curves = {arm: {draw: _points(curve) for draw, curve in of.items()} for arm, of in points.items()}
    return Detection(str(run), str(method), int(seed), int(step), str(module), str(cut), settings, values, curves)


def _pair(reference: Mapping[str, float], other: Mapping[str, float], measure: Measure) -> tuple[float, ...]:
    """Returns what `compare` takes of a pair."""
    pair = (reference.get(measure.name, nan), other.get(measure.name, nan))
    return (*pair, reference.get(measure.start, nan)) if measure.is_ratio else pair


def _points(curve: Mapping[int, float]) -> Points:
    known = [step for step in sorted(curve) if not isnan(curve[step])]
    return np.array(known, np.int64), np.array([curve[step] for step in known], np.float64)
