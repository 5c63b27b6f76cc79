"""Where the injected part of a network can begin: so early that every head has a hidden nonlinear layer in it."""

import re
from collections.abc import Iterator, Sequence

from probe.networks.branches import ENCODER, stages_from
from probe.networks.consumers import ROLES
from probe.networks.specification import NetworkSpec, Stage

_LETTERS = {"weights": "w", "nonlinearity": "a", "pair": "a"}


def heads(spec: NetworkSpec) -> list[str]:
    """Returns the modules that act and judge; others, such as those of an auxiliary loss, are none."""
    return [name for name in spec.modules if name.startswith(("actor", "critic"))]


def hidden_cuts(spec: NetworkSpec, chosen: Sequence[str]) -> list[str]:
    """Returns the paths of the stages, in order, from which on every chosen head has a hidden nonlinear layer.

    From any other on some head is linear, and injecting that one changes nothing. Where several heads are chosen, all
    are injected as one function, which begins in the trunk.

    Args:
        spec: The network's.
        chosen: Names of heads.
    """
    candidates = [f"{ENCODER}.{stage.name}" for stage in spec.modules[ENCODER].stages]
    if len(chosen) == 1:
        candidates += [f"{chosen[0]}.{stage.name}" for stage in spec.modules[chosen[0]].stages]
    return [path for path in candidates if all(_has_hidden(_path_of(spec, path, head)) for head in chosen)]


def _path_of(spec: NetworkSpec, cut: str, head: str) -> tuple[Stage, ...]:
    found = stages_from(spec, cut)
    return (*found.get(ENCODER, ()), *found[head])


def _has_hidden(stages: Sequence[Stage]) -> bool:
    """Whether weights, a nonlinearity and weights follow each other."""
    return re.search("w.*a.*w", "".join(_letters(stages))) is not None


def _letters(stages: Sequence[Stage]) -> Iterator[str]:
    for stage in stages:
        yield from _letters(stage.stages) if stage.stages else _LETTERS.get(ROLES[stage.kind], "")
