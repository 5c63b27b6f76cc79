"""The diagnosis of every series of an analysis."""

from dataclasses import dataclass
from typing import Any

from probe.diagnosis.courses import Course, Place, Series, courses
from probe.diagnosis.notes import notes
from probe.diagnosis.signs import SIGNS
from probe.diagnosis.thresholds import Thresholds
from probe.diagnosis.verdict import ModuleDiagnosis, State, judge
from probe.modules import ALL
from probe.results import Analysis

_ORDER: tuple[State, ...] = ("lost", "degrading", "healthy", "unknown")


@dataclass(frozen=True)
class SeriesDiagnosis:
    """One series on one observation set."""

    run: str
    method: str
    seed: int
    data: str
    """SHA-256 of the observation set."""
    first_step: int
    """The checkpoint that the others are compared with."""
    last_step: int
    """The checkpoint that is judged."""
    modules: tuple[ModuleDiagnosis, ...]
    """In the network's order; `all` stands for what is measured on the whole network."""
    notes: tuple[str, ...]
    """What a reader should know before trusting it."""

    @property
    def state(self) -> State:
        """The worst state of a module; a network of which a layer was not looked at is not healthy."""
        states = {each.state for each in self.modules} or {"unknown"}
        worst = next(state for state in _ORDER if state in states)
        return "unknown" if worst == "healthy" and any(each.unseen for each in self.modules) else worst


def diagnose(analysis: Analysis, thresholds: Thresholds | None = None) -> list[SeriesDiagnosis]:
    """Judges every series on every observation set by what the analysis holds.

    Args:
        analysis: probes that were not run are no evidence; `fitting` measures plasticity itself.
        thresholds: when a change counts.
    """
    chosen = thresholds or Thresholds()
    functions = {each["layer"]: each["function"] for each in analysis.layers}
    return [
        _diagnosis(series, places, _layers(analysis, series), functions, chosen)
        for series, places in courses(analysis).items()
        if any(course.values for course in places.values())
    ]


def _layers(analysis: Analysis, series: Series) -> list[dict[str, Any]]:
    """Returns what the analysis says of a series' hidden layers at its last checkpoint, in call order."""
    *own, data = series
    steps = {
        each["digest"]: each["step"]
        for each in analysis.checkpoints
        if [each["run"], each["method"], each["seed"]] == own
    }
    found = [each for each in analysis.layers if each["checkpoint"] in steps and each["data"] == data]
    last = max((steps[each["checkpoint"]] for each in found), default=0)
    return sorted((each for each in found if steps[each["checkpoint"]] == last), key=lambda each: each["position"])


def _diagnosis(
    series: Series,
    places: dict[Place, Course],
    layers: list[dict[str, Any]],
    functions: dict[str, str],
    thresholds: Thresholds,
) -> SeriesDiagnosis:
    # Two series may give one layer id to unlike nonlinearities.
    functions = functions | {each["layer"]: each["function"] for each in layers}
    signs = [course for course in places.values() if any(sign.measures(course) for sign in SIGNS)]
    steps = [value.step for course in signs or places.values() for value in course.values]
    first, last = min(steps), max(steps)
    names = dict.fromkeys(course.module for course in places.values())
    judged = []
    for name in [*(name for name in names if name != ALL), ALL]:
        own = [each["layer"] for each in layers if each["module"] == name]
        judged.append(judge(name, places, functions, first, thresholds, own))
    modules = tuple(each for each in judged if each is not None)
    return SeriesDiagnosis(*series, first, last, modules, tuple(notes(places, modules, first, last, thresholds)))
