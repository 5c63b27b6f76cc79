"""What an analysis says in a few lines: first, last, change and course of the main measures, and what stands out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probe.diagnosis.courses import Course, Place, Series, courses
from probe.modules import ALL
from probe.results import Analysis
from probe.summary_lines import Functions, Line, functions_of, lines_of, without_zero_test

RISE = 0.05
"""A fraction that rises by more than this many points stands out. Ours, not sourced."""
FALL = 0.2
"""A rank or an FAU that falls by more than this share of its first value stands out. Ours, not sourced."""


@dataclass(frozen=True)
class SeriesSummary:
    """One series on one observation set."""

    run: str
    method: str
    seed: int
    data: str
    lines: tuple[Line, ...]
    finding: str
    """What stands out, and what was left out, in sentences."""


_RISING = {"dormant_fraction": "Dormant units", "dead_fraction": "Dead units"}
_FALLING = {"fau": "Active units (FAU)", "effective_rank": "The effective rank of the features"}


def summarise(analysis: Analysis) -> list[SeriesSummary]:
    """Returns a summary of every series on every observation set of an analysis."""
    found = courses(analysis)
    summaries = []
    for series in [(*each, data["digest"]) for each in analysis.series() for data in analysis.data]:
        places, functions = found.get(series, {}), functions_of(analysis, series)
        lines = lines_of(analysis, places, functions)
        if lines:
            sentences = (finding(lines), *_other_counts(analysis, series, lines), *_no_zero_test(places, functions))
            summaries.append(SeriesSummary(*series, lines, " ".join(sentences)))
    return summaries


def finding(lines: Sequence[Line]) -> str:
    """Says in a sentence or two what stands out; thresholds are `RISE` and `FALL`."""
    sentences = [*_broken(lines), *_rises(lines), *_falls(lines), *_dead_at_first(lines)] or _nothing(lines)
    return " ".join([*sentences, *_unjudged(lines)])


def _broken(lines: Sequence[Line]) -> list[str]:
    steps = {
        step for line in lines for step, status in zip(line.steps, line.statuses, strict=True) if status == "nonfinite"
    }
    checkpoints = {step for line in lines for step in line.steps}
    return [f"NaN or infinite activations at {len(steps)} of {len(checkpoints)} checkpoints."] if steps else []


def _rises(lines: Sequence[Line]) -> list[str]:
    sentences = []
    for line in (line for metric in _RISING for line in _main(lines, metric)):
        if line.judged and line.change > RISE:
            start, end = line.steepest
            sentences.append(
                f"{_RISING[line.metric]}{_place(line, lines)} rose from {line.first:.1%} to {line.last:.1%}, most "
                f"between steps {start:,} and {end:,}."
            )
    return sentences


def _falls(lines: Sequence[Line]) -> list[str]:
    return [
        f"{_FALLING[metric]}{_place(line, lines)} fell by {-line.change / line.first:.0%} of its first value."
        for metric in _FALLING
        for line in _main(lines, metric)
        if line.judged and line.first > 0 and -line.change / line.first > FALL
    ]


def _dead_at_first(lines: Sequence[Line]) -> list[str]:
    return [
        f"{line.first:.1%} of the units{_place(line, lines)} were dead at step {line.steps[0]:,} already."
        for line in _main(lines, "dead_fraction")
        if not line.few_samples and line.first > RISE
    ]


def _nothing(lines: Sequence[Line]) -> list[str]:
    """Returns the sentence for where nothing stands out, which names only what was judged."""
    judged = {line.metric for line in lines if line.judged}
    rises = [f"no fraction rose by {RISE * 100:.0f} points"] if judged & {*_RISING} else []
    falling = [word for metric, word in (("effective_rank", "rank"), ("fau", "FAU")) if metric in judged]
    falls = [f"no {' or '.join(falling)} fell by {FALL:.0%}"] if falling else []
    if judged:
        return [f"Nothing stands out: {', '.join(rises + falls)}."]
    if all(len(line.steps) == 1 for line in lines):
        return ["One checkpoint: there is nothing to compare it with."]
    return [] if all(line.few_samples for line in lines) else ["Nothing can be compared with the first checkpoint."]


def _unjudged(lines: Sequence[Line]) -> list[str]:
    few = [line for line in lines if line.few_samples]
    names = dict.fromkeys(f"{line.name[0].lower()}{line.name[1:]}{_place(line, lines)}" for line in few)
    return [f"Too few samples to judge: {', '.join(names)}."] if few else []


def _main(lines: Sequence[Line], metric: str) -> list[Line]:
    """Returns a metric's line of the whole network; where there is none, those of every module."""
    own = [line for line in lines if line.metric == metric]
    return [line for line in own if line.module == ALL] or own


def _place(line: Line, lines: Sequence[Line]) -> str:
    several = len({each.module for each in lines} - {ALL}) > 1
    return f" ({line.module})" if several and line.module != ALL else ""


def _other_counts(analysis: Analysis, series: Series, lines: Sequence[Line]) -> list[str]:
    """Returns which checkpoints are in no line, because they were measured on another number of samples."""
    keys = dict(zip(("run", "method", "seed", "data"), series, strict=True))
    measured: set[int] = set()
    for probe, metric in {(line.probe, line.metric) for line in lines}:
        measured |= {*analysis.select(**keys, probe=probe, metric=metric)["step"].tolist()}
    left_out = sorted(measured - {step for line in lines for step in line.steps})
    if not left_out:
        return []
    steps = ", ".join(f"{step:,}" for step in left_out)
    return [f"Left out, measured on another number of samples than {lines[0].samples:,}: step {steps}."]


def _no_zero_test(places: Mapping[Place, Course], functions: Functions) -> list[str]:
    without = without_zero_test(places, functions)
    if not without:
        return []
    names = ", ".join(sorted(frozenset().union(*without.values())))
    return [
        f"Dead units and FAU are not shown for {', '.join(without)}: in {names} a zero does not mean inactive "
        "(`--probe saturation` has other tests)."
    ]
