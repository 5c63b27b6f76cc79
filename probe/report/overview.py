"""First, last and change of every main measure, a line a series: the table of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from probe.figures import Material
from probe.figures.curves import Curve, by_series
from probe.figures.names import layer_name, module_name
from probe.results import Analysis
from probe.summary import SeriesSummary, summarise
from probe.summary_lines import Line

_SHARE = 0.1
"""Share of a log's values that stand for its start and for its end."""
_SCORES = (
    ("return/train", "Return", "training levels"),
    ("return/test", "Return", "unseen test levels"),
    ("accuracy/task", "Accuracy", "before each step"),
    ("accuracy/test", "Accuracy", "test observations"),
)


@dataclass(frozen=True)
class Entry:
    """One measure of one series, averaged over its seeds; NaN where there is no number."""

    series: str
    seeds: int
    measure: str
    where: str
    unit: str
    """`%` for fractions, which are stored as fractions; else empty."""
    first_step: int
    last_step: int
    first: float
    last: float
    course: tuple[float, ...]
    """Every value between, for a sparkline."""
    note: str
    """Why a number is missing or to be read with care; empty where there is nothing to say."""

    @property
    def change(self) -> float:
        """Last minus first."""
        return self.last - self.first

    def shown(self, value: float) -> str:
        """Returns a value as text with its unit; a dash where there is none."""
        if isnan(value):
            return "-"
        return f"{100 * value:.1f} %" if self.unit == "%" else f"{value:.1f}"

    @property
    def shown_change(self) -> str:
        """The change as text with its sign; percentage points for fractions."""
        if isnan(self.change):
            return "-"
        return f"{100 * self.change:+.1f} pp" if self.unit == "%" else f"{self.change:+.1f}"


def overview(material: Material) -> list[Entry]:
    """Returns the table's lines: measures of the analyses, then returns of the logs; by measure, then series."""
    return [*_measured(material), *_scores(material)]


def findings(material: Material) -> dict[str, str]:
    """Returns what stands out, by series and seed and, where there are several, observation set."""
    found: dict[str, str] = {}
    for analysis in material.analyses:
        for series in summarise(analysis):
            name = f"{material.series[series.run, series.method]}, seed {series.seed}"
            name += f", observations {series.data[:8]}" if len(analysis.data) > 1 else ""
            found[name] = series.finding
    return found


def _measured(material: Material) -> list[Entry]:
    groups: dict[tuple[str, str, str, str], list[tuple[Analysis, Line]]] = {}
    for analysis in material.analyses:
        for series in summarise(analysis):
            name = material.series[series.run, series.method]
            for line in _without_repetition(series):
                groups.setdefault((line.name, _where(analysis, series, line), series.data, name), []).append(
                    (analysis, line)
                )
    measures = list(dict.fromkeys(key[:3] for key in groups))
    ordered = sorted(groups, key=lambda key: measures.index(key[:3]))
    return [_entry(key[3], key[0], key[1], [line for _, line in groups[key]]) for key in ordered]


def _without_repetition(series: SeriesSummary) -> list[Line]:
    """Drops modules to which a measure does not apply, and a module's average where it is the whole network's."""
    applicable = [line for line in series.lines if {*line.statuses} != {"not_applicable"}]
    whole = {line.metric: line.values for line in applicable if line.module == "all"}
    return [line for line in applicable if line.module == "all" or not _same(line.values, whole.get(line.metric))]


def _same(values: tuple[float, ...], others: tuple[float, ...] | None) -> bool:
    return others is not None and len(values) == len(others) and np.allclose(values, others, equal_nan=True)


def _where(analysis: Analysis, series: SeriesSummary, line: Line) -> str:
    labels = [each["label"] for each in analysis.layers if each["layer"] == line.layer]
    place = f"layer {layer_name(labels[0])}" if labels else module_name(line.module)
    return f"{place}, observations {series.data[:8]}" if len(analysis.data) > 1 else place


def _entry(series: str, measure: str, where: str, seeds: Sequence[Line]) -> Entry:
    firsts, lasts = [line.first for line in seeds], [line.last for line in seeds]
    length = min(len(line.values) for line in seeds)
    course = np.mean([line.values[:length] for line in seeds], axis=0)
    notes = {status.replace("_", " ") for line in seeds for status in line.statuses} - {"ok"}
    steps = (min(line.steps[0] for line in seeds), max(line.steps[-1] for line in seeds))
    values = (float(np.mean(firsts)), float(np.mean(lasts)))
    note = ", ".join(sorted(notes))
    return Entry(series, len(seeds), measure, where, seeds[0].unit, *steps, *values, tuple(course.tolist()), note)


def _scores(material: Material) -> list[Entry]:
    entries = []
    for metric, measure, where in _SCORES:
        for series, seeds in by_series(material.logged(metric)).items():
            entries.append(_score(series, measure, where, seeds))
    return entries


def _score(series: str, measure: str, where: str, seeds: Sequence[Curve]) -> Entry:
    def end(curve: Curve, last: bool) -> float:
        count = max(1, round(_SHARE * len(curve.values)))
        return float(np.mean(curve.values[-count:] if last else curve.values[:count]))

    first, last = (float(np.mean([end(curve, which) for curve in seeds])) for which in (False, True))
    steps = (int(min(curve.steps[0] for curve in seeds)), int(max(curve.steps[-1] for curve in seeds)))
    length = min(len(curve.values) for curve in seeds)
    course = np.mean([curve.values[:length] for curve in seeds], axis=0)
    shown = tuple(course[np.linspace(0, length - 1, min(length, 12)).astype(int)].tolist())
    note = "means of the first and the last tenth of the log"
    return Entry(series, len(seeds), measure, where, "", *steps, first, last, shown, note)
