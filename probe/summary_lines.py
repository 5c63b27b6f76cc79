"""The main measures of a series, each a line: its course over the checkpoints, at equal sample counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isnan

from probe.diagnosis.courses import NO_THRESHOLD, Course, Place, Series
from probe.diagnosis.signs import RECTIFIED
from probe.diagnosis.thresholds import Thresholds
from probe.modules import ALL, FROZEN
from probe.results import Analysis
from probe.results.rows import NONE

LEAST_SAMPLES = Thresholds().least_samples
"""Observations below which no change is claimed, as in the diagnosis."""
Functions = Mapping[str, frozenset[str]]
"""The nonlinearities of every module, and of the whole network."""


@dataclass(frozen=True)
class Line:
    """One measure over one series, at equal sample counts."""

    name: str
    """What a person calls it."""
    probe: str
    metric: str
    module: str
    layer: str
    unit: str
    """`%` for fractions, empty for ranks."""
    steps: tuple[int, ...]
    values: tuple[float, ...]
    """NaN where a checkpoint has none."""
    statuses: tuple[str, ...]
    """One a value."""
    samples: int
    """Of every value."""

    @property
    def first(self) -> float:
        """The value at the first checkpoint, the baseline."""
        return self.values[0]

    @property
    def last(self) -> float:
        """The value at the last checkpoint."""
        return self.values[-1]

    @property
    def steepest(self) -> tuple[int, int]:
        """The two steps between which the value rose most; checkpoints without a value are passed over."""
        known = [(step, value) for step, value in zip(self.steps, self.values, strict=True) if not isnan(value)]
        (start, _), (end, _) = max(pairwise(known), key=lambda pair: pair[1][1] - pair[0][1])
        return start, end

    @property
    def change(self) -> float:
        """Last minus first."""
        return self.last - self.first

    @property
    def few_samples(self) -> bool:
        """Whether an end comes from too few samples for a claim."""
        return self.samples < LEAST_SAMPLES or "low_sample" in (self.statuses[0], self.statuses[-1])

    @property
    def judged(self) -> bool:
        """Whether a change may be claimed: two checkpoints with numbers from samples enough."""
        return not self.few_samples and len(self.steps) > 1 and not isnan(self.change)


@dataclass(frozen=True)
class _Fraction:
    """A share of units or elements, averaged over modules."""

    name: str
    probe: str
    metric: str
    threshold: float = NO_THRESHOLD
    functions: frozenset[str] = frozenset()
    """Nonlinearities for which it means something; empty: all."""


_FRACTIONS = (
    _Fraction("Dormant units (tau 0.025)", "dormancy", "dormant_fraction", 0.025),
    _Fraction("Dead units", "activity", "dead_fraction", functions=RECTIFIED),
    _Fraction("Active units (FAU)", "fau", "fau", functions=RECTIFIED),
)


def lines_of(analysis: Analysis, places: Mapping[Place, Course], functions: Functions) -> tuple[Line, ...]:
    """Returns fractions of units by module, then the effective rank of each module's features.

    Args:
        analysis: Says which layer of a module is its last.
        places: The courses of the series.
        functions: A fraction is left out of modules where it means nothing.
    """
    fractions = [
        _line(each.name, course, "%")
        for each in _FRACTIONS
        for course in _of(places, each)
        if _fits(course, each, functions)
    ]
    return (*fractions, *_ranks(analysis, places))


def functions_of(analysis: Analysis, series: Series) -> Functions:
    """Returns the nonlinearities of every module and of the whole network of one series."""
    *keys, data = series
    own = {each["digest"] for each in analysis.checkpoints if [each["run"], each["method"], each["seed"]] == keys}
    found: dict[str, set[str]] = {}
    for each in analysis.layers:
        if each["checkpoint"] in own and each["data"] == data and each["module"] != FROZEN:
            for module in (each["module"], ALL):
                found.setdefault(module, set()).add(each["function"])
    return {module: frozenset(functions) for module, functions in found.items()}


def without_zero_test(places: Mapping[Place, Course], functions: Functions) -> dict[str, frozenset[str]]:
    """Returns the modules whose dead units or FAU are left out, with the nonlinearities for which zero is no sign."""
    return {
        course.module: functions[course.module] - each.functions
        for each in _FRACTIONS
        for course in _of(places, each)
        if course.module != ALL and not _fits(course, each, functions)
    }


def _of(places: Mapping[Place, Course], fraction: _Fraction) -> list[Course]:
    wanted = (fraction.probe, fraction.metric, "micro", fraction.threshold)
    own = [each for each in places.values() if (each.probe, each.metric, each.aggregation, each.threshold) == wanted]
    # Where one module has all the layers, its average is the whole network's.
    return sorted((each for each in own if each.module != ALL or len(own) != 2), key=lambda each: each.module == ALL)


def _fits(course: Course, fraction: _Fraction, functions: Functions) -> bool:
    # An average over layers of which one does not fit means nothing either.
    return not fraction.functions or functions.get(course.module, frozenset()) <= fraction.functions


def _ranks(analysis: Analysis, places: Mapping[Place, Course]) -> list[Line]:
    # The features are a module's last layer, in call order. The probe `spectral-norm` has effective ranks of weights.
    own = [each for each in places.values() if (each.probe, each.metric) == ("rank", "effective_rank")]
    positions = {each["layer"]: each["position"] for each in analysis.layers}
    last = {
        each.module: each
        for each in sorted(own, key=lambda each: positions.get(each.layer, NONE))
        if each.aggregation == "layer"
    }
    return [_line("Effective rank", last[module], "") for module in dict.fromkeys(each.module for each in own)]


def _line(name: str, course: Course, unit: str) -> Line:
    steps, values, statuses = zip(*((each.step, each.value, each.status) for each in course.values), strict=True)
    samples = course.values[-1].samples
    return Line(name, course.probe, course.metric, course.module, course.layer, unit, steps, values, statuses, samples)
