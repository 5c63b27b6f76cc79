"""Plasticity injection: new head parameters at an unchanged function, to see whether learning gets easier.

out = h(theta) [frozen] + h(theta1') [learns] - h(theta2') [frozen], theta1' = theta2' newly drawn, where h is all that
runs from a cut on. Source: Nikishin et al. 2023, arXiv:2305.15555.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probe.capture import Activations, Layer, capture
from probe.errors import ConfigurationError
from probe.networks import Network
from probe.networks.branches import stages_from
from probe.networks.cuts import heads, hidden_cuts

State = dict[str, Tensor]
"""Parameters and buffers by name."""


@dataclass(frozen=True)
class Cut:
    """Where the injected part of a network begins."""

    layer: str
    """Path of the first layer of the injected part."""
    names: tuple[str, ...]
    """Parameters and buffers at and after the cut."""


@dataclass(frozen=True)
class _Event:
    """A module with tensors of its own, or a nonlinearity, as the forward pass reaches it."""

    path: str
    nonlinear: bool
    weighted: bool = False
    """Whether it holds a matrix of weights; a normalisation does not."""

    def inside(self, path: str) -> bool:
        """Whether this is the module of that path or a part of it."""
        return f"{self.path}.".startswith(f"{path}.")


def find_cut(
    network: nn.Module, example: Tensor, layer: str | None = None, activations: Activations | None = None
) -> Cut:
    """Finds what is injected, in the order in which one forward pass reaches the layers.

    Args:
        network: Any module.
        example: A batch of observations as the network takes them.
        layer: Path of a layer with parameters, or of a block of them; None: where the network was injected before, else
            before the last hidden layer of every head (conv64: `encoder.dense`), and in a network that is not ours of
            the first head that has one, else of the trunk.
        activations: Declared nonlinearities.

    Raises:
        ConfigurationError: there is no such layer, or no hidden nonlinear layer at or after it: injection into a
            linear head changes nothing, since W + W1 - W2 gives W1 exactly the gradient that W had.
    """
    if layer is None and isinstance(network, Network) and (own := _default_cut(network)):
        return own
    events = _events(network, example, activations)
    layers = list(dict.fromkeys(event.path for event in events if not event.nonlinear))
    if layer is not None and not any(event.inside(layer) for event in events):
        raise ConfigurationError(f"No layer '{layer}' to inject at. There are: {', '.join(layers)}.")
    chosen = layer or _last_hidden(events)
    start = next((k for k, each in enumerate(events) if each.inside(chosen) and not each.nonlinear), len(events))
    after = events[start:]
    if not _has_hidden(after):
        raise ConfigurationError(
            f"The part of the network from '{chosen or 'its outputs'}' on is linear: injecting it would change nothing."
            " Choose a cut before a hidden nonlinear layer."
        )
    before = {event.path for event in events[:start]}
    paths = [path for path in dict.fromkeys(e.path for e in after if not e.nonlinear) if path not in before]
    return Cut(chosen, tuple(name for path in paths for name in _own_names(network.get_submodule(path), path)))


class HeadCopy(nn.Module):
    """A copy of the parameters and buffers of a network's injected part, under the network's names."""

    def __init__(self, state: Mapping[str, Tensor], parameters: Sequence[str], trainable: bool) -> None:
        """Copies `state`; those named in `parameters` become parameters, the others buffers."""
        super().__init__()
        for name, tensor in state.items():
            key, own = _key(name), tensor.detach().clone()
            if name in parameters:
                self.register_parameter(key, nn.Parameter(own, requires_grad=trainable))
            else:
                self.register_buffer(key, own)

    def state(self) -> State:
        """Returns the tensors by the network's names."""
        return {_name(key): tensor for key, tensor in (*self.named_parameters(), *self.named_buffers())}


def inject(network: nn.Module, cut: Cut, fresh: nn.Module) -> nn.Module:
    """Returns an injected private copy of a network.

    A network of ours runs what lies before a stage once; any other runs three times as a whole.

    Args:
        network: What is injected; left as it is.
        cut: Where.
        fresh: A newly initialised network of the same architecture.
    """
    if isinstance(network, Network) and isinstance(fresh, Network) and cut.layer in network.spec.cuts():
        copied = copy.deepcopy(network)
        copied.inject(cut.layer, fresh, step=0)
        return copied
    return Injected(network, cut, fresh)


class Injected(nn.Module):
    """Any network whose part from a cut on is frozen, with a new learning copy and its frozen negative added.

    The output at injection and the number of trainable parameters are the network's; gradients reach what lies before
    the cut through all three parts. Injecting again freezes the learning copy and adds another pair.
    """

    def __init__(self, network: nn.Module, cut: Cut, fresh: nn.Module) -> None:
        """Injects a private copy of `network`.

        Args:
            network: What is injected; left as it is.
            cut: Where.
            fresh: A newly initialised network of the same architecture, whose parameters from the cut on are theta'.
        """
        super().__init__()
        self.network = copy.deepcopy(network)
        self.cut = cut
        self.learning = nn.ModuleList()
        self.frozen = nn.ModuleList()
        self._parameters_of_cut = [name for name, _ in network.named_parameters() if name in cut.names]
        for name in self._parameters_of_cut:
            self.network.get_parameter(name).requires_grad_(False)
        self.inject(fresh)

    def inject(self, fresh: nn.Module) -> None:
        """Freezes what learns at and after the cut and adds a new pair; the function stays."""
        state = fresh.state_dict()
        missing = [name for name in self.cut.names if name not in state]
        if missing:
            raise ConfigurationError(f"The new network lacks '{missing[0]}'; it must be of the same architecture.")
        chosen = {name: state[name] for name in self.cut.names}
        for each in self.learning:
            each.requires_grad_(False)
        self.learning.append(HeadCopy(chosen, self._parameters_of_cut, trainable=True))
        self.frozen.append(HeadCopy(chosen, self._parameters_of_cut, trainable=False))

    def forward(self, observations: Tensor) -> Any:
        """Returns what the network returns, of the same structure."""
        total = self.network(observations)
        for learning, frozen in zip(self.learning, self.frozen, strict=True):
            plus, minus = (
                functional_call(self.network, each.state(), (observations,))
                for each in (learning, frozen)
                if isinstance(each, HeadCopy)
            )
            # The difference first: it is exactly 0 at injection, so the sum is exactly the network's output.
            total = _combined(total, plus, minus)
        return total


def _combined(total: Any, plus: Any, minus: Any) -> Any:
    if isinstance(total, Tensor):
        return total + (plus - minus)
    if isinstance(total, dict):
        return {name: _combined(total[name], plus[name], minus[name]) for name in total}
    return tuple(_combined(*each) for each in zip(total, plus, minus, strict=True))


def _default_cut(network: Network) -> Cut | None:
    """Returns where a network of ours is injected unless said otherwise; None where some head is linear throughout."""
    spec = network.spec
    places = [each.cut for each in spec.injections] or hidden_cuts(spec, heads(spec))
    if not places:
        return None
    parts = stages_from(spec, places[-1])
    stages = tuple(f"{module}.{stage.name}." for module, listed in parts.items() for stage in listed)
    return Cut(places[-1], tuple(name for name in network.state_dict() if name.startswith(stages)))


@torch.no_grad()
def _events(network: nn.Module, example: Tensor, activations: Activations | None) -> list[_Event]:
    """Runs the network once and returns its layers with tensors of their own and its nonlinearities, as reached."""
    events: list[_Event] = []

    def consume(layer: Layer, output: Tensor, pre_activation: Tensor | None) -> None:
        events.append(_Event(layer.path, nonlinear=True))

    def entering(path: str, module: nn.Module) -> Any:
        return lambda *_: events.append(_Event(path, False, _is_weighted(module)))

    handles = [
        module.register_forward_pre_hook(entering(path, module))
        for path, module in network.named_modules()
        if path and _own_names(module, path)
    ]
    try:
        with capture(network, consume, activations=activations):
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    # A parametrisation runs inside its layer and belongs to it.
    return [event for event in events if ".parametrizations." not in f".{event.path}."]


def _own_names(module: nn.Module, path: str) -> list[str]:
    """Returns the state_dict names of a module's own tensors, those of its parametrisations among them."""
    own = [name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]
    inner = getattr(module, "parametrizations", None)
    names = [] if inner is None else [f"parametrizations.{name}" for name in inner.state_dict()]
    kept = set(module.state_dict())
    return [f"{path}.{name}" for name in (*own, *names) if name in kept]


def _is_weighted(module: nn.Module) -> bool:
    matrices = any(parameter.ndim >= 2 for parameter in module.parameters())
    return matrices and not isinstance(module, nn.LayerNorm | nn.RMSNorm)


def _has_hidden(events: Sequence[_Event]) -> bool:
    """Whether a layer, a nonlinearity and another layer follow each other."""
    wanted: Iterator[bool] = iter((False, True, False))
    looking = next(wanted)
    for event in events:
        if event.nonlinear == looking:
            try:
                looking = next(wanted)
            except StopIteration:
                return True
    return False


def _last_hidden(events: Sequence[_Event]) -> str:
    """Returns the layer before the last nonlinearity of the first head that has one, else of the trunk."""
    modules = list(dict.fromkeys(event.path.split(".")[0] for event in events))
    heads = ([event for event in events if event.path.split(".")[0] == module] for module in modules[1:])
    for part in (*heads, events):
        last = max((k for k, event in enumerate(part) if event.nonlinear), default=0)
        hidden = [event.path for event in part[:last] if event.weighted]
        if hidden:
            return hidden[-1]
    return ""


def _key(name: str) -> str:
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")
