"""Networks that a plain state_dict tells by its shapes: MLPs, Nature DQN and IMPALA, with or without heads on a trunk.

What the shapes do not say is assumed, and said: the activation, and that images are divided by 255.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from probe.checkpoints.chain_network import DEVIATION, IMPALA, OBSERVATIONS, Branch, ChainNetwork
from probe.checkpoints.content import Policy
from probe.checkpoints.layout import Layout
from probe.checkpoints.stacks import ACTIVATIONS, NATURE, Tensors
from probe.errors import UnknownNameError
from probe.module_guess import ENCODER, module_named

_TRUNK = ""


@dataclass(frozen=True)
class Chain(Policy):
    """A network as its shapes tell it."""

    kind: str
    branches: tuple[Branch, ...]
    activation: str
    assumed: tuple[str, ...]

    @property
    def layout(self) -> Layout:
        """Images channels first and in [0, 1], vectors as they are."""
        if self.kind == "MLP":
            return Layout(assumed=self.assumed)
        return Layout(channels_first=True, divisor=255.0, assumed=self.assumed)

    def build(self, tensors: Tensors) -> nn.Module:
        """Builds the network, without values."""
        return ChainNetwork(self.kind, self.branches, self.activation, tensors)


def recognised(tensors: Tensors, activation: str | None = None) -> Chain | None:
    """Returns the network whose state_dict this is; None where the shapes do not tell.

    Args:
        tensors: The state_dict.
        activation: Name of the activation after each hidden layer; None: what is usual for the shape.

    Raises:
        UnknownNameError: there is no such activation.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise UnknownNameError("activation", activation, ACTIVATIONS)
    weights = {name.removesuffix(".weight"): each for name, each in tensors.items() if name.endswith(".weight")}
    if not weights or any(each.ndim not in (2, 4) for each in weights.values()) or _more_than(weights, tensors):
        return None
    images = [path for path, each in weights.items() if each.ndim == 4]
    kind = _kind(images, weights)
    branches = None if kind is None else _branches(weights)
    if kind is None or branches is None or (kind == IMPALA and activation not in (None, "relu")):
        return None
    apart = sum(each.reads == OBSERVATIONS for each in branches) > 1
    # Separate actors and critics on vectors are the form of on-policy scripts, whose activation is tanh.
    chosen = activation or ("tanh" if apart and kind == "MLP" else "relu")
    assumed = [f"the network is inferred from the shapes of its tensors: {kind}, {_described(branches, weights)}"]
    if activation is None and kind != IMPALA:  # whose residual blocks are those of the source
        assumed.append(f"its activation is taken to be {chosen}: another one is given by --model-args activation=NAME")
    if kind != "MLP":
        assumed.append("its images are taken to be divided by 255, channels first")
    return Chain(kind, tuple(branches), chosen, tuple(assumed))


def _more_than(weights: Tensors, tensors: Tensors) -> bool:
    """Whether there are tensors that are no weight's or bias's, nor a policy's deviation or scale."""
    known = {f"{path}.{name}" for path in weights for name in ("weight", "bias")}
    rest = [name for name in tensors if name not in known]
    return any(not DEVIATION.fullmatch(name) and not name.endswith(("action_scale", "action_bias")) for name in rest)


def _kind(images: Sequence[str], weights: Tensors) -> str | None:
    kernels = [tuple(weights[path].shape[2:]) for path in images]
    if not images:
        return "MLP"
    if kernels == [(kernel, kernel) for kernel, _ in NATURE]:
        return "Nature DQN"
    if (
        len(images) % 5 == 0
        and set(kernels) == {(3, 3)}
        and all(_is_sequence(images[i : i + 5]) for i in range(0, len(images), 5))
    ):
        return IMPALA
    return None


def _is_sequence(paths: Sequence[str]) -> bool:
    """Whether five convolutions are one and two residual blocks of two, which have modules of their own."""
    first, *pairs = (path.rpartition(".")[0] for path in paths)
    return pairs[0] == pairs[1] != pairs[2] == pairs[3] and all(block.startswith(f"{first}.") for block in pairs)


def _branches(weights: Tensors) -> list[Branch] | None:
    groups: dict[str, list[str]] = {}
    # Some formats do not keep the order of definition.
    for path in sorted(weights, key=_natural):
        # Convolutions and what follows them at once are one trunk, whatever their names.
        groups.setdefault(_TRUNK if weights[path].ndim == 4 else _group(path), []).append(path)
    if _TRUNK in groups:
        images = groups.pop(_TRUNK)
        joined = _continuation(weights, images, groups)
        if joined is None:
            return None
        groups = {joined: images + groups.pop(joined), **groups}
    if any(not _follows(weights, *pair) for layers in groups.values() for pair in pairwise(layers)):
        return None
    return _ordered(weights, groups)


def _continuation(weights: Tensors, images: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str | None:
    """Returns the group that the convolutions lead to: one beside them, else the one with the widest input."""
    home = images[0].split(".")[0]
    fitting = [name for name, layers in groups.items() if _follows(weights, images[-1], layers[0])]
    beside = [name for name in fitting if name.split(".")[0] == home]
    return max(beside or fitting, key=lambda name: weights[groups[name][0]].shape[1], default=None)


def _ordered(weights: Tensors, groups: Mapping[str, Sequence[str]]) -> list[Branch] | None:
    """Returns each branch after the one that it reads; None where what one reads cannot be told."""
    given = {name: weights[layers[0]].shape[1] for name, layers in groups.items()}
    images = [name for name, layers in groups.items() if weights[layers[0]].ndim == 4]
    trunks = {
        name: [
            other
            for other, layers in groups.items()
            if other != name and not _is_head(other) and weights[layers[-1]].shape[0] == given[name]
        ]
        for name in groups
    }
    roots = images or [name for name in groups if not trunks[name]]
    features = {given[name] for name in roots}
    others = [name for name in groups if name not in roots]
    # What is as wide as the observations could read either.
    if len(features) != 1 or any(len(trunks[name]) != 1 or (not images and given[name] in features) for name in others):
        return None
    found = [Branch(name, tuple(groups[name]), OBSERVATIONS) for name in roots]
    while others:
        ready = [name for name in others if any(each.name == trunks[name][0] for each in found)]
        if not ready:
            return None
        found += [Branch(name, tuple(groups[name]), trunks[name][0]) for name in ready]
        others = [name for name in others if name not in ready]
    return found


def _natural(path: str) -> list[tuple[bool, int, str]]:
    """Orders numbers in names by their value."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path)]


def _group(path: str) -> str:
    """Returns the name that consecutive layers share: of `actor.2` it is `actor`, of `fc1` it is `fc`."""
    return re.sub(r"[._]?\d+$", "", path)


def _follows(weights: Tensors, one: str, other: str) -> bool:
    """Whether a layer can read another's output, which is flattened between a convolution and a linear layer."""
    out, given = weights[one].shape[0], weights[other].shape[1]
    if weights[one].ndim == 4 and weights[other].ndim == 2:
        return given % out == 0
    return bool(weights[one].ndim >= weights[other].ndim and out == given)


def _is_head(branch: str) -> bool:
    return module_named(branch) != ENCODER


def _described(branches: Sequence[Branch], weights: Tensors) -> str:
    return ", ".join(
        f"{each.name or 'layers'} {'-'.join(str(weights[path].shape[0]) for path in each.layers)}" for each in branches
    )
