"""What a diagnosis did not look at: layers without rows of their own, and signs whose probes were not run."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from probe.diagnosis.courses import Course
from probe.diagnosis.signs import SIGNS, Sign

Layers = Sequence[str]
"""Ids of hidden layers, in call order."""
_OF_EVERY_LAYER = frozenset({"collapse", "saturation", "redundancy"})
"""Probes that measure every layer, whichever ones `--layer` asks for."""


def unseen_layers(own: Sequence[Course], layers: Layers, functions: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the layers that a measure of other layers, or an average over all, leaves out.

    Args:
        own: the courses of a module.
        layers: ids of all its hidden layers.
        functions: nonlinearity by layer id.
    """
    unseen: set[str] = set()
    for sign in SIGNS:
        courses = [course for course in own if sign.measures(course)]
        if sign.probe in _OF_EVERY_LAYER or not courses:
            continue
        last = max(course.values[-1].step for course in courses)
        seen = {course.layer for course in courses if course.layer and course.values[-1].step == last}
        unseen |= {each for each in layers if each not in seen and sign.means_something(functions.get(each, ""))}
    return tuple(layer for layer in layers if layer in unseen)


def not_measured(courses: Iterable[Course], layers: Layers, functions: Mapping[str, str]) -> tuple[Sign, ...]:
    """Returns the signs that some of the layers could show and that no course is about.

    Args:
        courses: those of the series.
        layers: ids of a module's hidden layers.
        functions: nonlinearity by layer id.
    """
    known = list(courses)
    could = [sign for sign in SIGNS if any(_can_show(sign, functions.get(layer, "")) for layer in layers)]
    return tuple(sign for sign in could if not _was_run(sign, known))


def _can_show(sign: Sign, function: str) -> bool:
    return not sign.absolute and sign.means_something(function)


def _was_run(sign: Sign, courses: Collection[Course]) -> bool:
    """Whether the sign's probe was run, with the parameter that it reads."""
    if sign.at is None:
        return any(course.probe == sign.probe for course in courses)
    return any(sign.measures(course) for course in courses)
