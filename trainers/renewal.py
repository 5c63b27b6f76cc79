"""Moving whole layers of a network towards newly drawn parameters, or setting them to these."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from probe.networks import Network, NetworkSpec, Stage, build
from probe.networks.consumers import ROLES, unit_layers
from probe.networks.cuts import heads
from probe.networks.initialise import drawn_parameters
from probe.networks.spectral import FIRST_ITERATIONS, spectral_layers, stored_weight
from probe.trainers.moments import reset_moments


def penultimate_layers(spec: NetworkSpec) -> list[str]:
    """Returns the paths of the layers whose units the outputs read, with the normalisations of these units."""
    outputs = {f"{name}.{spec.modules[name].stages[-1].name}" for name in heads(spec)}
    read = [layer for layer in unit_layers(spec) if outputs & set(layer.readers)]
    return [path for layer in read for path in (layer.source, *layer.normalisations) if path]


class InitialDraws:
    """Draws of all of a network's first parameters, again and again, with no new network each time."""

    def __init__(self, network: Network) -> None:
        """Takes what is the same in every draw, such as gains of 1, from one newly built network."""
        self._network = network
        built = build(network.spec, torch.Generator()).to(next(network.parameters()).device)
        self._drawn = {path: stage.initialisation for path, stage in network.spec.layers().items() if _is_drawn(stage)}
        own = {name for path in self._drawn for name, _ in built.get_submodule(path).named_parameters(prefix=path)}
        self._constant = [
            (network.get_parameter(name), parameter.detach())
            for module in network.spec.modules
            for name, parameter in built.get_submodule(module).named_parameters(prefix=module)
            if name not in own
        ]

    def draw(self, rng: torch.Generator) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yields each of the network's parameters with a new draw of it."""
        for path, how in self._drawn.items():
            layer = self._network.get_submodule(path)
            weight = stored_weight(layer)
            fresh, bias = drawn_parameters(weight.shape, how, rng)
            yield weight, fresh.to(weight.device)
            if layer.bias is not None:
                yield layer.get_parameter("bias"), bias.to(weight.device)
        yield from self._constant


def _is_drawn(stage: Stage) -> bool:
    return ROLES[stage.kind] == "weights"


@torch.no_grad()
def renew(
    network: Network,
    paths: Sequence[str],
    optimizer: torch.optim.Optimizer,
    rng: torch.Generator,
    shrink: float = 0.0,
    perturb: float = 1.0,
) -> int:
    """Sets parameters to shrink * parameter + perturb * a new draw from the network's initialisation.

    Moments are forgotten. Without a rest of the old parameters, buffers start anew too.

    Args:
        network: Changed in place.
        paths: Modules and layers whose parameters are changed, gains and offsets of normalisations among them.
        optimizer: What holds the moments.
        rng: What a whole new network is drawn from.
        shrink: Factor on the parameters.
        perturb: Factor on the new draw.

    Returns:
        The number of parameters changed.
    """
    fresh = build(network.spec, rng)
    changed = 0
    for path in paths:
        part, new = network.get_submodule(path), fresh.get_submodule(path)
        for parameter, drawn in zip(part.parameters(), new.parameters(), strict=True):
            parameter.mul_(shrink).add_(drawn.to(parameter.device), alpha=perturb)
            changed += parameter.numel()
        if shrink == 0:
            for buffer, start in zip(part.buffers(), new.buffers(), strict=True):
                buffer.copy_(start)
        reset_moments(optimizer, part.parameters())
        for norm, raw in spectral_layers(part):
            norm.iterate(raw, FIRST_ITERATIONS)
    return changed
