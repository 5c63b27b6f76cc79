"""The network's tensors in whatever a training script saved: bare, nested, or under a wrapper's prefix."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from probe.checkpoints.content import Content
from probe.checkpoints.steps import count_of_content, step_of_content
from probe.errors import FileError

_NETWORKS = (
    "model_state_dict",
    "state_dict",
    "network_state_dict",
    "agent_state_dict",
    "policy_state_dict",
    "model",
    "network",
    "agent",
    "policy",
    "net",
    "actor_critic",
    "module",
    "params",
    "weights",
)
"""Keys under which scripts keep the one network, the surest first."""
_OTHERS = ("optim", "scheduler", "scaler", "buffer", "rng", "target", "ema", "normalizer", "running_stat")
"""Parts of keys under which other things are kept."""
_WRAPPERS = ("_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.")
"""Of torch.compile, Lightning Fabric and FSDP: they may stand anywhere in a name."""
_PARALLEL = "module."
_DEPTH = 4
_LIGHTNING = "pytorch-lightning_version"


def read_state_dicts(path: Path, loaded: Any, format: str) -> Content:
    """Finds the network in what a file held.

    Raises:
        FileError: there are no tensors, or several networks of which none is the one.
    """
    if isinstance(loaded, nn.Module):
        return Content(format=format, tensors=loaded.state_dict(), program=loaded)
    found = dict(_dictionaries(loaded))
    if not found:
        raise FileError(f"{path}: holds no state_dict, a dictionary of tensors by name. Save `network.state_dict()`.")
    tensors, left_out = _chosen(path, found)
    held = loaded if isinstance(loaded, Mapping) else {}
    lightning = _LIGHTNING in held
    arguments = held.get("hyper_parameters") if lightning else None
    remarks = [f"left out: {', '.join(left_out)}"] if left_out else []
    if lightning:
        remarks.append("steps are Lightning's global_step, which counts optimiser steps")
    return Content(
        format="lightning" if lightning else format,
        tensors=unwrapped(tensors),
        step=step_of_content(held),
        count=count_of_content(held),
        arguments=dict(arguments) if isinstance(arguments, Mapping) else {},
        remarks=tuple(remarks),
    )


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors without the prefixes that wrappers of PyTorch put into names."""
    names = {name: name for name in tensors}
    for wrapper in _WRAPPERS:
        names = {name: short.replace(wrapper, "") for name, short in names.items()}
    while names and all(short.startswith(_PARALLEL) for short in names.values()):
        names = {name: short.removeprefix(_PARALLEL) for name, short in names.items()}
    return {short: tensors[name] for name, short in names.items()}


def _dictionaries(
    held: Any, path: str = "", seen: frozenset[int] = frozenset()
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields the state_dicts in nested dictionaries, lists and tuples, by their dotted path."""
    if id(held) in seen or path.count(".") >= _DEPTH:
        return
    inside = seen | {id(held)}
    if isinstance(held, Mapping):
        tensors = {name: each for name, each in held.items() if isinstance(name, str) and isinstance(each, Tensor)}
        named = any("." in name or name in ("weight", "bias") for name in tensors)
        if named or (tensors and len(tensors) == len(held)):
            yield path, tensors
            return
        children = [(str(name), each) for name, each in held.items()]
    else:
        children = list(zip(map(str, range(len(held))), held, strict=True)) if isinstance(held, list | tuple) else []
    for name, each in children:
        if "param_groups" not in (each if isinstance(each, Mapping) else ()):
            yield from _dictionaries(each, f"{path}.{name}" if path else name, inside)


def _chosen(path: Path, found: Mapping[str, dict[str, Tensor]]) -> tuple[dict[str, Tensor], list[str]]:
    """Returns the network's tensors and the paths of what is not it."""
    candidates = {name: each for name, each in found.items() if not any(word in name.lower() for word in _OTHERS)}
    others = [name for name in found if name not in candidates]
    if len(candidates) == 1:
        return next(iter(candidates.values())), others
    for key in _NETWORKS:
        inside = [name for name in candidates if key in name.lower().split(".")]
        if len(inside) == 1:
            return candidates[inside[0]], [name for name in found if name != inside[0]]
        if inside:
            others += [name for name in candidates if name not in inside]
            candidates = {name: candidates[name] for name in inside}
            break
    if not candidates:
        raise FileError(f"{path}: holds {', '.join(found)}, and none of them is a network's state_dict.")
    joined = {f"{name}.{inner}": tensor for name, each in candidates.items() for inner, tensor in each.items()}
    return joined, others
