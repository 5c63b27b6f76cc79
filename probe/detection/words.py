"""Detections as tables of words and numbers, for the terminal and for a report."""

from dataclasses import dataclass
from math import exp, isfinite, isnan, nan
from typing import Any

import numpy as np

from probe.detection.reading import INJECTED, Detection
from probe.detection.verdict import MEASURES, Comparison, Measure, Verdict, decide
from probe.results import Analysis
from probe.results.rows import NONE

HEADER = ("Measure, arm", "Mean", "Gain [95 % interval]", "Effect size", "p")
OFFLINE_HEADER = ("Step", "Loss ratio", "95 % interval", "p", "Verdict")
OFFLINE_NOTE = (
    "Loss ratio: final loss of control over that of injected, of fitting a random network's outputs with a new "
    "optimiser. Plasticity is lost where p is at most 0.05 and the interval lies above 1.1."
)
NOTE = (
    "Gain: how much better than the arm that is compared with; of losses, how many times smaller, each counted from "
    "5 % of the loss at the start. Target fitting: learning a random change of the outputs; TD error: learning one "
    "target that is frozen at the fork; both with a new optimiser, the mean of the losses after 25, 50 and 100 % "
    "of the fit. p: exact sign-flip test, one-sided, of losses for a gain above 1.1. Plasticity is lost where p is at "
    "most 0.05, a t interval that holds for all measures together lies above 0 (of losses 1.1), and losses are half as "
    "large. No evidence of loss is no proof of health: exploration or data can stand in the way too."
)
_DASH = "-"


@dataclass(frozen=True)
class OfflineVerdict:
    """What the probe `injection` said of one checkpoint on one observation set."""

    run: str
    method: str
    seed: int
    step: int
    ratio: float
    low: float
    high: float
    p: float
    verdict: float
    """1, 0, or NaN where undecided."""

    @property
    def words(self) -> str:
        """The verdict in words."""
        if isnan(self.verdict):
            return "undecided"
        return "plasticity lost behind the cut" if self.verdict else "no evidence of loss at this budget"

    @property
    def series(self) -> str:
        """What a person calls the series."""
        return f"{self.run} / {self.method} / seed {self.seed}" if self.method else self.run

    @property
    def cells(self) -> tuple[str, ...]:
        """Step, ratio, interval, p and verdict."""
        interval = f"{_number(self.low)} to {_number(self.high)}"
        return f"{self.step:,}", _number(self.ratio), interval, _number(self.p, 3), self.words


def table(detection: Detection) -> dict[str, list[tuple[str, ...]]]:
    """Returns the lines of a detection by measure: each arm's mean, and its gain on the reference."""
    arms = [detection.reference, *(arm for arm in detection.values if arm != detection.reference)]
    compared = {arm: {each.measure: each for each in detection.comparisons(arm)} for arm in arms[1:]}
    return {
        measure.words: [
            (arm, _mean(detection, arm, measure), *_gain(compared.get(arm, {}).get(measure), arm == INJECTED))
            for arm in arms
            if any(measure.name in found for found in detection.values[arm].values())
        ]
        for measure in MEASURES
        if any(measure in of for of in compared.values())
    }


def title(detection: Detection) -> str:
    """Returns what was detected where."""
    pairs = len(detection.draws(INJECTED))
    return (
        f"{detection.run} / {detection.method} / seed {detection.seed} at step {detection.step:,}: {detection.place}. "
        f"{pairs} pair{'s' * (pairs != 1)} of {detection.budget:,} steps, compared with {detection.reference}"
    )


def verdict_line(detection: Detection) -> str:
    """Returns the verdict, and what it rests on."""
    verdict: Verdict = decide(detection.comparisons())
    because = f" ({', '.join(verdict.because)})" if verdict.because else ""
    return verdict.words(detection.module) + because


def described(detection: Detection) -> dict[str, Any]:
    """Returns a detection as plain values; NaN where there is no number."""
    return {
        **{name: getattr(detection, name) for name in ("run", "method", "seed", "step", "module", "cut", "settings")},
        "pairs": len(detection.draws(INJECTED)),
        "verdict": detection.verdict.state,
        "words": detection.verdict.words(detection.module),
        "more_seeds_needed": detection.verdict.more,
        "arms": {
            arm: {
                each.measure.name: {
                    "differences": list(each.differences),
                    **{name: getattr(each, name) for name in ("mean", "low", "high", "effect_size")},
                    "p": each.p if arm == INJECTED else nan,
                }
                for each in detection.comparisons(arm)
            }
            for arm in detection.values
            if arm != detection.reference
        },
    }


def offline_verdicts(analysis: Analysis) -> list[OfflineVerdict]:
    """Returns what the probe `injection` found, by series and step."""
    rows = analysis.select(probe="injection", draw=NONE)
    identity = ("run", "method", "seed", "step", "data")
    groups: dict[tuple[Any, ...], dict[str, float]] = {}
    for index in range(len(rows["run"])):
        key = tuple(rows[name][index] for name in identity)
        groups.setdefault(key, {})[str(rows["metric"][index])] = float(rows["value"][index])
    names = ("loss_ratio", "loss_ratio_low", "loss_ratio_high", "sign_flip_p", "verdict")
    return [
        OfflineVerdict(str(run), str(method), int(seed), int(step), *(groups[key].get(name, nan) for name in names))
        for key in sorted(groups)
        for run, method, seed, step, _ in [key]
    ]


def _mean(detection: Detection, arm: str, measure: Measure) -> str:
    found = [values.get(measure.name, nan) for values in detection.values[arm].values()]
    known = [each for each in found if isfinite(each)]
    return _number(float(np.mean(known))) if known else _DASH


def _gain(comparison: Comparison | None, tested: bool) -> tuple[str, ...]:
    if comparison is None:
        return "", "", ""
    ratio = comparison.measure.is_ratio
    mean, low, high = (_shown(each, ratio) for each in (comparison.mean, comparison.low, comparison.high))
    gain = f"{mean} x" if ratio else mean
    p = _number(comparison.p, 3) if tested else ""
    return f"{gain} [{low}, {high}]", _number(comparison.effect_size), p


def _shown(value: float, ratio: bool) -> str:
    if not isfinite(value):
        return _DASH
    return f"{exp(value):.3g}" if ratio else f"{value:+.3g}"


def _number(value: float, digits: int = 0) -> str:
    if not isfinite(value):
        return _DASH
    return f"{value:.{digits}f}" if digits else f"{value:.3g}"
