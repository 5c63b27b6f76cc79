"""Networks that a plain state_dict tells by its shapes: MLPs, Nature DQN and IMPALA, with or without heads on a trunk.

What the shapes do not say is assumed, and said: the activation, and that images are divided by 255.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from probe.checkpoints.content import Policy
from probe.checkpoints.layout import Layout
from probe.checkpoints.roles import guess_modules
from probe.checkpoints.stacks import NATURE, Tensors, convolution, linear
from probe.errors import UnknownNameError

Activation = Literal["relu", "tanh", "elu", "gelu", "silu", "leaky_relu"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}
OBSERVATIONS = "observations"
_TRUNK = ""
_DEVIATION = re.compile(r"(.*[._])?log_?std(_.*)?")


@dataclass(frozen=True)
class Branch:
    """Layers that stand one after another under one name, and what they read."""

    name: str
    layers: tuple[str, ...]
    """Paths of the weight layers."""
    reads: str
    """`observations`, or the branch whose features it reads."""


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
        return ChainNetwork(self, tensors)


def recognised(tensors: Tensors, activation: str | None = None) -> Chain | None:
    """Returns the network whose state_dict this is; None where the shapes do not tell.

    Args:
        tensors: The state_dict.
        activation: Name of the activation after each hidden layer; None: what is usual for the shape.

    Raises:
        UnknownNameError: there is no such activation.
    """
    if activation is not None and activation not in get_args(Activation):
        raise UnknownNameError("activation", activation, get_args(Activation))
    weights = {name.removesuffix(".weight"): each for name, each in tensors.items() if name.endswith(".weight")}
    if not weights or any(each.ndim not in (2, 4) for each in weights.values()) or _more_than(weights, tensors):
        return None
    images = [path for path, each in weights.items() if each.ndim == 4]
    kind = _kind(images, weights)
    branches = None if kind is None else _branches(weights)
    if kind is None or branches is None or (kind == "IMPALA" and activation not in (None, "relu")):
        return None
    apart = sum(each.reads == OBSERVATIONS for each in branches) > 1
    # Separate actors and critics on vectors are the form of on-policy scripts, whose activation is tanh.
    chosen = activation or ("tanh" if apart and kind == "MLP" else "relu")
    assumed = [f"the network is inferred from the shapes of its tensors: {kind}, {_described(branches, weights)}"]
    if activation is None and kind != "IMPALA":  # whose residual blocks are those of the source
        assumed.append(f"its activation is taken to be {chosen}: another one is given by --model-args activation=NAME")
    if kind != "MLP":
        assumed.append("its images are taken to be divided by 255, channels first")
    return Chain(kind, tuple(branches), chosen, tuple(assumed))


def _more_than(weights: Tensors, tensors: Tensors) -> bool:
    """Whether there are tensors that are no weight's or bias's, nor a policy's deviation or scale."""
    known = {f"{path}.{name}" for path in weights for name in ("weight", "bias")}
    rest = [name for name in tensors if name not in known]
    return any(not _DEVIATION.fullmatch(name) and not name.endswith(("action_scale", "action_bias")) for name in rest)


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
        return "IMPALA"
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
    return guess_modules([f"{branch}.weight"]).names in (("actor",), ("critic",))


def _described(branches: Sequence[Branch], weights: Tensors) -> str:
    return ", ".join(
        f"{each.name or 'layers'} {'-'.join(str(weights[path].shape[0]) for path in each.layers)}" for each in branches
    )


class _Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), with functions for activations, as public code has it."""

    def __init__(self, names: Sequence[str], layers: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.names = tuple(names)
        for name, layer in zip(names, layers, strict=True):
            self.add_module(name, layer)

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for name in self.names:
            features = self.get_submodule(name)(F.relu(features))
        return images + features


class ChainNetwork(nn.Module):
    """A chain's branches; what none of them reads is an output: `actor`, or `mean`, `critic`, or the branch's name."""

    def __init__(self, chain: Chain, tensors: Tensors) -> None:
        """Builds it, without values, with every parameter under the name that it is stored by."""
        super().__init__()
        self.chain, self.kind = chain, f"{chain.kind}, inferred from its shapes"
        self.order: dict[str, list[str]] = {each.name: [] for each in chain.branches}
        read = {each.reads for each in chain.branches}
        for branch in chain.branches:
            if chain.kind == "IMPALA" and branch.reads == OBSERVATIONS:
                self._add_impala(branch, tensors)
            else:
                self._add_layers(branch, tensors, ends_active=branch.name in read)
        for name, tensor in tensors.items():
            if name not in self.state_dict():
                home, _, own = name.rpartition(".")
                self._home(home).register_buffer(own, tensor.clone())
        self.outputs = {each.name: self._output(each.name) for each in chain.branches if each.name not in read}

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        """Runs every branch once on vectors (batch, feature) or images (batch, channel, height, width)."""
        features = {OBSERVATIONS: observations}
        for branch in self.chain.branches:
            given = features[branch.reads]
            for path in self.order[branch.name]:
                given = self.get_submodule(path)(given)
            features[branch.name] = given
        return {output: features[name] for name, output in self.outputs.items()}

    def _add_layers(self, branch: Branch, tensors: Tensors, ends_active: bool) -> None:
        images = 0
        for index, path in enumerate(branch.layers):
            if tensors[f"{path}.weight"].ndim == 4:
                self._add(branch, path, convolution(tensors, path, NATURE[index][1]))
                images += 1
            else:
                if images == index and index:
                    self._add(branch, f"{path}_flat", nn.Flatten())
                self._add(branch, path, linear(tensors, path))
            if index + 1 < len(branch.layers) or ends_active:
                self._add(branch, self._after(path), _ACTIVATIONS[self.chain.activation]())

    def _add_impala(self, branch: Branch, tensors: Tensors) -> None:
        images = [path for path in branch.layers if tensors[f"{path}.weight"].ndim == 4]
        for start in range(0, len(images), 5):
            first, *others = images[start : start + 5]
            self._add(branch, first, convolution(tensors, first, padding=1))
            self._add(branch, f"{first}_pool", nn.MaxPool2d(3, 2, 1))
            for pair in (others[:2], others[2:]):
                block, names = pair[0].rpartition(".")[0], [path.rpartition(".")[2] for path in pair]
                self._add(branch, block, _Residual(names, [convolution(tensors, path, padding=1) for path in pair]))
        *hidden, last = branch.layers[len(images) :]
        self._add(branch, f"{(hidden or [last])[0]}_flat", nn.Flatten())
        self._add(branch, self._before((hidden or [last])[0]), nn.ReLU())
        for path in (*hidden, last):
            self._add(branch, path, linear(tensors, path))
            if path != last or len(self.chain.branches) > 1:
                self._add(branch, self._after(path), nn.ReLU())

    def _add(self, branch: Branch, path: str, module: nn.Module) -> None:
        home, _, name = path.rpartition(".")
        self._home(home).add_module(name, module)
        self.order[branch.name].append(path)

    def _home(self, path: str) -> nn.Module:
        """Returns the module at a path, having made what is not there yet."""
        module: nn.Module = self
        for name in path.split(".") if path else ():
            if name not in module._modules:
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        return module

    def _after(self, path: str) -> str:
        """Returns the path of the activation after a layer: in a Sequential the next number, else a name of its own."""
        home, _, name = path.rpartition(".")
        return f"{home}.{int(name) + 1}" if name.isdigit() and home else f"{path}_{self.chain.activation}"

    def _before(self, path: str) -> str:
        home, _, name = path.rpartition(".")
        return f"{home}.{int(name) - 1}" if name.isdigit() and home and int(name) else f"{path}_input_relu"

    def _output(self, name: str) -> str:
        role = next(iter(guess_modules([f"{name}.weight"]).names), "")
        if role == "actor":
            return "mean" if any(_DEVIATION.fullmatch(each) for each in self.state_dict()) else "actor"
        # Of one number a state, a critic's values; of several, one an action.
        last = next(each for each in self.chain.branches if each.name == name).layers[-1]
        single = self.get_submodule(last).out_features == 1
        return "critic" if role == "critic" and single else name.replace(".", "_") or "output"
