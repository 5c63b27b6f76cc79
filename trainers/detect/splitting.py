"""Giving each head the end of a shared trunk for itself, at an unchanged function."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from probe.errors import ConfigurationError
from probe.networks import NetworkSpec, build
from probe.networks.branches import ENCODER, stages_from


def split_specification(spec: NetworkSpec, cut: str) -> NetworkSpec:
    """Returns the network in which the trunk's stages from `cut` on stand in each module that reads the trunk.

    Raises:
        ConfigurationError: a head has a stage of the same name already.
    """
    found = stages_from(spec, cut)
    moved = found.pop(ENCODER)
    modules = dict(spec.modules)
    kept = modules[ENCODER].stages[: -len(moved)]
    modules[ENCODER] = modules[ENCODER].model_copy(update={"stages": kept})
    for name, own in found.items():
        if both := {stage.name for stage in moved} & {stage.name for stage in own}:
            raise ConfigurationError(
                f"--cut {cut}: the trunk cannot be split there, '{name}' has a stage '{both.pop()}' of its own. "
                "Choose a later --cut, or --inject both."
            )
        modules[name] = modules[name].model_copy(update={"stages": (*moved, *own)})
    return spec.model_copy(update={"modules": modules})


def split_state(state: dict[str, Any], cut: str) -> dict[str, Any]:
    """Returns an agent's state with the trunk split: parameters and moments of its end, for each head the same.

    A mitigation's own tensors go with the parameters that they are named after.

    Raises:
        ConfigurationError: a head has a stage of the same name already, or the optimiser has several groups.
    """
    spec = NetworkSpec.model_validate(state["specification"])
    whole = split_specification(spec, cut)
    found = stages_from(spec, cut)
    moved = [f"{ENCODER}.{stage.name}" for stage in found.pop(ENCODER)]
    names = {key: _renamed(key, moved, list(found)) for key in _learning(spec)}
    return {
        **state,
        "specification": whole.model_dump(mode="json"),
        "network": _split_keys(state["network"], moved, list(found)),
        "mitigation": _split_keys(state["mitigation"], moved, list(found)),
        "optimizer": _split_optimiser(state["optimizer"], names, _learning(whole)),
    }


def _split_optimiser(state: dict[str, Any], names: dict[str, list[str]], learning: Sequence[str]) -> dict[str, Any]:
    groups = state["param_groups"]
    if len(groups) != 1:
        raise ConfigurationError("The optimiser has several groups of parameters. Choose --inject both.")
    source = {new: str(index) for index, many in enumerate(names.values()) for new in many}
    moments = {
        str(index): copy.deepcopy(state["state"][source[name]])
        for index, name in enumerate(learning)
        if source[name] in state["state"]
    }
    return {"state": moments, "param_groups": [{**groups[0], "params": list(range(len(learning)))}]}


def _learning(spec: NetworkSpec) -> list[str]:
    network = build(spec, torch.Generator())
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def _split_keys(value: Any, moved: Sequence[str], heads: Sequence[str]) -> Any:
    if not isinstance(value, dict):
        return copy.deepcopy(value)
    return {
        new: _split_keys(inner, moved, heads) for key, inner in value.items() for new in _renamed(key, moved, heads)
    }


def _renamed(name: str, moved: Sequence[str], heads: Sequence[str]) -> list[str]:
    if any(f"{name}.".startswith(f"{path}.") for path in moved):
        return [f"{head}{name.removeprefix(ENCODER)}" for head in heads]
    return [name]
