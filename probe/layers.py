"""Which hidden layers a checkpoint's network has, from one blank observation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probe.capture import Layer, capture, unit_axis
from probe.checkpoints.base import Checkpoint
from probe.inputs import blank_observation
from probe.modules import check_chosen


@dataclass(frozen=True)
class Hidden:
    """A hidden layer and its width."""

    layer: Layer
    units: int


@torch.no_grad()
def hidden_layers(checkpoint: Checkpoint, shape: tuple[int, ...]) -> list[Hidden]:
    """Runs the network on one blank observation of a shape and returns its hidden layers, in call order.

    Raises:
        ShapeError: the network takes no such observation.
    """
    found: list[Hidden] = []

    def note(layer: Layer, output: Tensor, _: Tensor | None) -> None:
        found.append(Hidden(layer, output.shape[unit_axis(output)]))

    network = checkpoint.network()
    with capture(network, note) as outputs:
        network(checkpoint.prepare(blank_observation(shape)))
    return [each for each in found if each.layer.id not in outputs.layers]


def check_modules(checkpoints: Iterable[Checkpoint], shape: tuple[int, ...]) -> None:
    """Refuses what a user said of modules where it means nothing in any of the networks.

    Raises:
        ConfigurationError: there is such a pattern.
        ShapeError: a network takes no observation of that shape.
    """
    chosen: dict[str, Sequence[str]] = {}
    layers: list[str] = []
    paths: list[str] = []
    for each in checkpoints:
        if each.modules.chosen:
            chosen |= each.modules.chosen
            layers += [hidden.layer.id for hidden in hidden_layers(each, shape)]
            paths += [path for path, _ in each.network().named_modules() if path]
    check_chosen(chosen, layers, paths)


def widest_hidden(checkpoint: Checkpoint) -> int:
    """Returns the units of the widest hidden layer; 0 where the checkpoint does not tell what its network takes."""
    shape = checkpoint.observation_shape
    return 0 if shape is None else max((each.units for each in hidden_layers(checkpoint, shape)), default=0)
