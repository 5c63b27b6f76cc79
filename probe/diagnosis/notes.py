"""What a reader should know beside the verdicts: what was not compared or measured, and findings that decide none."""

from collections.abc import Iterator, Mapping, Sequence

from probe.diagnosis.courses import Course, Place, Value
from probe.diagnosis.signs import SIGNS
from probe.diagnosis.thresholds import Thresholds
from probe.diagnosis.verdict import ModuleDiagnosis

_PLASTICITY_ITSELF = frozenset({"fitting", "injection"})
_DEPTH = "_depth_verdict"
_QUANTITIES = {
    "feature_rms": "the features",
    "preactivation_rms": "the pre-activations",
    "gradient_rms_joint": "the gradient",
    "gradient_rms_critic": "the critic's gradient",
    "gradient_rms_actor": "the actor's gradient",
}


def notes(
    places: Mapping[Place, Course],
    modules: Sequence[ModuleDiagnosis],
    first: int,
    last: int,
    thresholds: Thresholds,
) -> Iterator[str]:
    """Yields the notes on a series, those on the comparison first.

    Args:
        places: its courses.
        modules: its modules as they were judged.
        first: step of the checkpoint that the others are compared with.
        last: step of the last one.
        thresholds: of samples, below which nothing is said.
    """
    unequal = list(_unequal(places))
    if first == last:
        yield "One checkpoint: there is nothing to compare it with. Analyze a series."
    elif first > 0 and not unequal:
        yield f"Compared with step {first:,}, for the series has no step 0: what was lost before is not seen."
    yield from unequal
    yield from _vanishing(places, first, thresholds)
    yield from _policies(places, first, thresholds)
    yield from _injection(places)
    yield from _not_measured(modules)
    if not any(course.probe in _PLASTICITY_ITSELF for course in places.values()):
        yield (
            "Whether it learns more slowly was not measured; `--probe fitting` does. Lost units and ranks only "
            "correlate with that."
        )


def _unequal(places: Mapping[Place, Course]) -> Iterator[str]:
    """Yields which checkpoints were left out, for a measure is compared at equal N only."""
    found: dict[tuple[int, int], tuple[set[int], set[str]]] = {}
    for course in places.values():
        if course.unequal and any(sign.measures(course) for sign in SIGNS):
            for value in course.unequal:
                steps, probes = found.setdefault((value.samples, course.values[-1].samples), (set(), set()))
                steps.add(value.step)
                probes.add(course.probe)
    for (samples, others), (steps, probes) in found.items():
        which = f"step{'s' if len(steps) > 1 else ''} {', '.join(f'{step:,}' for step in sorted(steps))}"
        yield (
            f"Not compared: {which}, measured on {samples:,} observations where the last checkpoint has {others:,} "
            f"({', '.join(sorted(probes))})."
        )


def _vanishing(places: Mapping[Place, Course], first: int, thresholds: Thresholds) -> Iterator[str]:
    """Yields what vanishes or explodes over a module's layers and did not at the first checkpoint."""
    for course in places.values():
        quantity = _QUANTITIES.get(course.metric.removesuffix(_DEPTH))
        if course.probe != "layer-norms" or not course.metric.endswith(_DEPTH) or quantity is None:
            continue
        since = _new_since(course, first, thresholds)
        if since is not None and course.values[-1].value:
            vanishes = course.values[-1].value < 0
            bound = f"below {course.threshold:g}" if vanishes else f"above {1 / course.threshold:g}"
            yield (
                f"{course.module}: since step {since.step:,} the size of {quantity} "
                f"{'vanishes' if vanishes else 'explodes'} over the layers, the last is {bound} times the first; at "
                f"step {first:,} it was not (layer-norms). That alone is no loss."
            )


def _policies(places: Mapping[Place, Course], first: int, thresholds: Thresholds) -> Iterator[str]:
    """Yields policies that have come to give one action distribution, whatever they see (Moalla et al. 2024)."""
    for course in places.values():
        if (course.probe, course.metric) == ("policy-collapse", "action_variance") and course.values[-1].value == 0:
            since = _new_since(course, first, thresholds)
            if since is not None:
                yield (
                    f"{course.module}: since step {since.step:,} the policy is the same for every observation "
                    "(policy-collapse)."
                )


def _new_since(course: Course, first: int, thresholds: Thresholds) -> Value | None:
    """Returns from where on the last value was there without a break; None where it was so at first, or is not known.

    Values of few samples are not judged.
    """
    start, last = course.at(first), course.values[-1]
    if start is None or not last.known or start.value == last.value or last.samples < thresholds.least_samples:
        return None
    since = last
    for value in reversed(course.after(first)):
        if value.value != last.value:
            break
        since = value
    return since


def _injection(places: Mapping[Place, Course]) -> Iterator[str]:
    for course in places.values():
        if (course.probe, course.metric) == ("injection", "verdict") and course.values[-1].value == 0:
            yield (
                f"At step {course.values[-1].step:,} a new head learns no better than its own (injection): no evidence "
                "of lost plasticity at this budget, and no proof of health."
            )


def _not_measured(modules: Sequence[ModuleDiagnosis]) -> Iterator[str]:
    """Yields, probe by probe, the signs of which the verdicts say nothing."""
    missing: dict[str, dict[str, list[str]]] = {}
    for module in modules:
        for sign in module.not_measured:
            missing.setdefault(sign.probe, {}).setdefault(sign.name, []).append(module.module)
    if not missing:
        return
    told = []
    for probe, by_name in missing.items():
        of = dict.fromkeys(name for names in by_name.values() for name in names)
        told.append(f"{' and '.join(by_name)} of {', '.join(of)} (`--probe {probe}`)")
    yield f"Not measured, and no part of the verdict: {'; '.join(told)}."
