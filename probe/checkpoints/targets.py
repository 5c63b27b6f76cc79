"""Target networks: copies that follow the network that learns, and are told from it by their names."""

import re
from collections.abc import Mapping

from torch import Tensor

_NAME = re.compile(r"(.*[a-z0-9_])?targ(et)?s?([_0-9].*)?|(.*_)?(old|ema|slow)(_.*)?")
"""A part of a path that says so."""


def is_target(path: str) -> bool:
    """Whether a path leads through a target network."""
    return any(_NAME.fullmatch(part) for part in path.lower().split("."))


def without_targets(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Returns a state_dict without target networks, and their paths.

    Only what has another part of the same names and shapes beside it is left out.
    """
    kept = {name: each for name, each in tensors.items() if not is_target(name.rpartition(".")[0])}
    groups: dict[str, dict[str, Tensor]] = {}
    for name in tensors:
        if name not in kept:
            prefix, inside = _split(name)
            groups.setdefault(prefix, {})[inside] = tensors[name]
    if not kept or not all(_is_beside(inside, kept) for inside in groups.values()):
        return dict(tensors), []
    return kept, list(groups)


def _split(name: str) -> tuple[str, str]:
    """Returns the path of the target network that a tensor is of, and the tensor's name in it."""
    parts = name.split(".")
    end = next(index for index, part in enumerate(parts, start=1) if is_target(part))
    return ".".join(parts[:end]), ".".join(parts[end:])


def _is_beside(inside: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> bool:
    first = next(iter(inside))
    prefixes = [name.removesuffix(first) for name in kept if name.endswith(f".{first}")]
    return any(
        all(f"{prefix}{name}" in kept and kept[f"{prefix}{name}"].shape == each.shape for name, each in inside.items())
        for prefix in prefixes
    )
