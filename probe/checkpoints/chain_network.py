"""The module of a network whose shapes told what it is, with every layer under the path that it is stored at."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from probe.checkpoints.stacks import ACTIVATIONS, NATURE, Tensors, convolution, linear
from probe.module_guess import ACTOR, CRITIC, module_named

OBSERVATIONS = "observations"
IMPALA = "IMPALA"
DEVIATION = re.compile(r"(.*[._])?log_?std(_.*)?")
"""Names of a continuous policy's deviation."""


@dataclass(frozen=True)
class Branch:
    """Layers that stand one after another under one name, and what they read."""

    name: str
    layers: tuple[str, ...]
    """Paths of the weight layers."""
    reads: str
    """`observations`, or the branch whose features it reads."""


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

    def __init__(self, kind: str, branches: Sequence[Branch], activation: str, tensors: Tensors) -> None:
        """Builds it, without values; a branch comes after the one that it reads."""
        super().__init__()
        self.kind, self.branches, self.activation = f"{kind}, inferred from its shapes", branches, activation
        self.order: dict[str, list[str]] = {each.name: [] for each in branches}
        read = {each.reads for each in branches}
        for branch in branches:
            if kind == IMPALA and branch.reads == OBSERVATIONS:
                self._add_impala(branch, tensors, branch.name in read)
            else:
                self._add_layers(branch, tensors, ends_active=branch.name in read)
        for name, tensor in tensors.items():
            if name not in self.state_dict():
                home, _, own = name.rpartition(".")
                self._home(home).register_buffer(own, tensor.clone())
        self.outputs = {each.name: self._output(each.name) for each in branches if each.name not in read}

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        """Runs every branch once on vectors (batch, feature) or images (batch, channel, height, width)."""
        features = {OBSERVATIONS: observations}
        for branch in self.branches:
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
                self._add(branch, self._after(path), ACTIVATIONS[self.activation]())

    def _add_impala(self, branch: Branch, tensors: Tensors, ends_active: bool) -> None:
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
            if path != last or ends_active:
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
        return f"{home}.{int(name) + 1}" if name.isdigit() and home else f"{path}_{self.activation}"

    def _before(self, path: str) -> str:
        home, _, name = path.rpartition(".")
        return f"{home}.{int(name) - 1}" if name.isdigit() and home and int(name) else f"{path}_input_relu"

    def _output(self, name: str) -> str:
        role = module_named(name)
        if role == ACTOR:
            return "mean" if any(DEVIATION.fullmatch(each) for each in self.state_dict()) else "actor"
        # Of one number a state, a critic's values; of several, one an action.
        last = next(each for each in self.branches if each.name == name).layers[-1]
        single = self.get_submodule(last).out_features == 1
        return "critic" if role == CRITIC and single else name.replace(".", "_") or "output"
