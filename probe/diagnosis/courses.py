"""The course of every measure over a series, at equal sample counts, ready to be judged."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

from probe.modules import FROZEN
from probe.results import Analysis
from probe.results.rows import NONE

Series = tuple[str, str, int, str]
"""(run, method, seed, digest of the observation set)."""
Place = tuple[str, str, str, str, str, float]
"""(probe, metric, aggregation, module, layer, threshold)."""
NO_THRESHOLD = -1.0


@dataclass(frozen=True)
class Value:
    """One number of a course."""

    step: int
    value: float
    """NaN where there is none."""
    status: str
    samples: int

    @property
    def known(self) -> bool:
        """Whether it may be judged: a number from samples enough."""
        return not isnan(self.value) and self.status in ("ok", "degenerate")


@dataclass(frozen=True)
class Course:
    """One measure of one place over the checkpoints of a series, in step order, all of equal sample counts."""

    probe: str
    metric: str
    aggregation: str
    """`layer`, `micro` (a module's average by units or elements) or `none` (the whole network's)."""
    module: str
    layer: str
    threshold: float
    """`NO_THRESHOLD` where there is none."""
    values: tuple[Value, ...]
    unequal: tuple[Value, ...] = ()
    """Those that were measured on another number of samples than the last, and are not compared."""

    def after(self, step: int) -> tuple[Value, ...]:
        """Returns the values that may be judged, after a step."""
        return tuple(each for each in self.values if each.known and each.step > step)

    def at(self, step: int) -> Value | None:
        """Returns the value at a step; None where there is none that may be judged."""
        return next((each for each in self.values if each.known and each.step == step), None)


def courses(analysis: Analysis) -> dict[Series, dict[Place, Course]]:
    """Returns every course of an analysis by series and place.

    Rows of pairs of checkpoints, of single draws and of arms are no courses. Of unequal sample counts those of the
    last checkpoint count, for a measure is compared at equal N only.
    """
    gathered: dict[Series, dict[Place, list[Value]]] = {}
    for series, place, value in _values(analysis):
        gathered.setdefault(series, {}).setdefault(place, []).append(value)
    return {
        series: {place: _course(place, values) for place, values in places.items()}
        for series, places in gathered.items()
    }


def _values(analysis: Analysis) -> Iterator[tuple[Series, Place, Value]]:
    rows = analysis.rows
    chosen = (rows["reference_step"] == NONE) & (rows["draw"] == NONE) & (rows["arm"] == "")
    chosen &= (rows["aggregation"] != "macro") & (rows["module"] != FROZEN)
    names = ("run", "method", "seed", "data", "probe", "metric", "aggregation", "module", "layer", "threshold")
    tail = ("step", "value", "status", "samples")
    columns = [rows[name][chosen].tolist() for name in (*names, *tail)]
    for *place, threshold, step, value, status, samples in zip(*columns, strict=True):
        run, method, seed, data, probe, metric, aggregation, module, layer = place
        at = NO_THRESHOLD if isnan(threshold) else threshold
        measured = Value(step, value, status, samples)
        yield (run, method, seed, data), (probe, metric, aggregation, module, layer, at), measured


def _course(place: Place, values: list[Value]) -> Course:
    ordered = sorted(values, key=lambda each: each.step)
    equal = tuple(each for each in ordered if each.samples == ordered[-1].samples)
    unequal = tuple(each for each in ordered if each.samples != ordered[-1].samples)
    return Course(*place, equal, unequal)
