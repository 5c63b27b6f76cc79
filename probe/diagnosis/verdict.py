"""From courses and signs to a diagnosis: for each module healthy, degrading or lost, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from probe.diagnosis.courses import Course, Place, Value
from probe.diagnosis.coverage import Layers, not_measured, unseen_layers
from probe.diagnosis.signs import SIGNS, Severity, Sign
from probe.diagnosis.thresholds import Thresholds

State = Literal["healthy", "degrading", "lost", "unknown"]
Onset = Literal["catastrophic", "benign", "none"]


@dataclass(frozen=True)
class Evidence:
    """One sign that a module shows at the last checkpoint."""

    sign: Sign
    severity: Severity
    layer: str
    """Layer id; empty for the whole network."""
    first: float
    last: float
    since: int
    """First checkpoint from which the sign was there without a break."""


@dataclass(frozen=True)
class Standing:
    """One sign that a module does not show: its measure in the layer that is nearest to showing it."""

    sign: Sign
    layer: str
    """Layer id; empty for the whole network."""
    first: float
    last: float
    step: int
    """Checkpoint of the last value."""
    judged: int
    """Layers whose measure could be judged."""
    measured: int
    """Layers that have one; few samples, or no first value, leave the others open."""


@dataclass(frozen=True)
class ModuleDiagnosis:
    """What one module of a series has come to; the module `all` is the network as a whole."""

    module: str
    state: State
    onset: Onset
    """Catastrophic: activity was lost early and never came back. Benign: it was lost later, or came back between."""
    evidence: tuple[Evidence, ...]
    """Strongest first: one a sign, of the layer that shows it most."""
    not_judged: tuple[str, ...]
    """Names of signs that few samples, or a missing first value, left open."""
    standing: tuple[Standing, ...] = ()
    """The signs that were looked for and not found, which is the evidence of health."""
    unseen: tuple[str, ...] = ()
    """Ids of hidden layers that were not looked at; with one of them a module is not called healthy."""
    not_measured: tuple[Sign, ...] = ()
    """Signs that its layers could show, and whose probes were not run."""


def judge(
    module: str,
    places: Mapping[Place, Course],
    functions: Mapping[str, str],
    first_step: int,
    thresholds: Thresholds,
    layers: Layers = (),
) -> ModuleDiagnosis | None:
    """Judges one module by its courses; None where it has nothing to judge.

    Args:
        module: its name, or `all` for what is measured on the whole network.
        places: the courses of the series.
        functions: nonlinearity by layer id.
        first_step: step of the series' first checkpoint, which later ones are compared with.
        thresholds: when a change counts.
        layers: ids of all its hidden layers, also of those without a course.
    """
    own = [course for course in places.values() if course.module == module]
    broken = next(_broken(own), None)
    if broken is not None:
        return ModuleDiagnosis(module, "lost", "none", (broken,), ())
    evidence, standing, open_signs = [], [], []
    for sign in SIGNS:
        measured = [each for each in own if sign.fits(each, functions.get(each.layer, "")) and _applies(each)]
        known = [course for course in measured if _comparable(sign, course, first_step, thresholds)]
        if measured and not known:
            open_signs.append(sign.name)
        found = [each for course in known if (each := _evidence(sign, course, places, first_step, thresholds))]
        if found:
            evidence.append(max(found, key=lambda each: (each.severity == "lost", abs(each.last - each.first))))
        elif known and sign.clears:
            standing.append(_standing(sign, known, first_step, len(measured)))
    if not (evidence or standing or open_signs or layers):
        return None
    unseen = unseen_layers(own, layers, functions)
    return ModuleDiagnosis(
        module,
        _state(evidence, cleared=bool(standing) and not unseen),
        onset(own, first_step, thresholds),
        tuple(evidence),
        tuple(open_signs),
        tuple(standing),
        unseen,
        not_measured(places.values(), layers, functions),
    )


def onset(courses: Sequence[Course], first_step: int, thresholds: Thresholds) -> Onset:
    """Tells an early loss of activity that never comes back from a later one, by a module's FAU (element average)."""
    fau = next((each for each in courses if (each.metric, each.aggregation) == ("fau", "micro")), None)
    start = None if fau is None else fau.at(first_step)
    if fau is None or start is None or start.value == 0 or not fau.after(first_step):
        return "none"
    active = [each.value >= thresholds.early_activity * start.value for each in (start, *fau.after(first_step))]
    if active[-1]:
        return "none"
    steps = [start.step, *(each.step for each in fau.after(first_step))]
    last_active = len(active) - 1 - active[::-1].index(True)
    early = first_step + thresholds.early * (steps[-1] - first_step)
    if steps[last_active + 1] <= early:
        return "catastrophic"
    came_back = not all(active[:last_active])
    # Between two checkpoints on either side of the bound nobody saw when it was lost.
    return "benign" if steps[last_active] >= early or came_back else "none"


def _comparable(sign: Sign, course: Course, first_step: int, thresholds: Thresholds) -> bool:
    """Whether a course ends in a number that may be judged, and began with one."""
    last = course.values[-1]
    if not last.known or last.samples < thresholds.least_samples:
        return False
    return sign.absolute or (last.step > first_step and course.at(first_step) is not None)


def _evidence(
    sign: Sign, course: Course, places: Mapping[Place, Course], first_step: int, thresholds: Thresholds
) -> Evidence | None:
    last = course.values[-1]
    first = course.at(first_step) or last
    since: Value | None = None
    for value in reversed((first, *course.after(first_step)) if sign.absolute else course.after(first_step)):
        if sign.rule(first, value, thresholds) is None or not _certain(sign, course, value, places, thresholds):
            break
        since = value
    severity = sign.rule(first, last, thresholds)
    if since is None or severity is None:
        return None
    return Evidence(sign, severity, course.layer, first.value, last.value, since.step)


def _certain(sign: Sign, course: Course, value: Value, places: Mapping[Place, Course], thresholds: Thresholds) -> bool:
    """Whether the lower end of a ratio's interval is high enough, where the sign has one."""
    if sign.low is None:
        return True
    place = (course.probe, sign.low, course.aggregation, course.module, course.layer, course.threshold)
    low = places[place].at(value.step) if place in places else None
    return low is not None and low.value > thresholds.fitting_certain


def _broken(courses: Sequence[Course]) -> Iterator[Evidence]:
    for course in courses:
        last = course.values[-1]
        if last.status == "nonfinite" and course.aggregation == "layer" and course.probe == BROKEN.probe:
            steps = [each.step for each in course.values if each.status == "nonfinite"]
            yield Evidence(BROKEN, "lost", course.layer, course.values[0].value, last.value, steps[0])


def _standing(sign: Sign, known: Sequence[Course], first_step: int, measured: int) -> Standing:
    """Returns the measure of the layer that is nearest to showing the sign."""
    ends = [(course.at(first_step) or course.values[-1], course.values[-1], course.layer) for course in known]
    first, last, layer = max(ends, key=lambda each: sign.extent(each[0], each[1]))
    return Standing(sign, layer, first.value, last.value, last.step, len(known), measured)


def _applies(course: Course) -> bool:
    """Whether a layer can have this measure; one of the whole network that it lacks is worth saying."""
    return course.aggregation != "layer" or course.values[-1].status != "not_applicable"


def _state(evidence: Sequence[Evidence], cleared: bool) -> State:
    if not evidence:
        return "healthy" if cleared else "unknown"
    return "lost" if any(each.severity == "lost" for each in evidence) else "degrading"


BROKEN = Sign(
    "NaN or infinite activations",
    "dormancy",
    "dormant_fraction",
    lambda first, value, thresholds: None,
    "the network computes no number any more",
    "which step of training broke it: look at the checkpoint before",
    unit="flag",
)
