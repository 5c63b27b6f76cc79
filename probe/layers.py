"""Which hidden layers a checkpoint's network has, from one blank observation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from probe.capture import Activations, Layer, capture, unit_axis
from probe.checkpoints.base import Checkpoint
from probe.errors import ConfigurationError, suggestion
from probe.inputs import blank_observation
from probe.modules import check_chosen


@dataclass(frozen=True)
class Hidden:
    """A hidden layer and its width."""

    layer: Layer
    units: int


@torch.no_grad()
def hidden_layers(checkpoint: Checkpoint, given: Tensor, activations: Activations | None = None) -> list[Hidden]:
    """Runs the network on a batch as it takes them and returns its hidden layers, in call order.

    Args:
        checkpoint: the network.
        given: a batch.
        activations: declared nonlinearities.
    """
    found: list[Hidden] = []

    def note(layer: Layer, output: Tensor, _: Tensor | None) -> None:
        found.append(Hidden(layer, output.shape[unit_axis(output)]))

    network = checkpoint.network()
    with capture(network, note, activations=activations) as outputs:
        network(given)
    return [each for each in found if each.layer.id not in outputs.layers]


def check_modules(checkpoints: Iterable[tuple[Checkpoint, Tensor]]) -> None:
    """Refuses what a user said of modules where it means nothing in any of the networks.

    Args:
        checkpoints: Each with a batch as its network takes them.

    Raises:
        ConfigurationError: there is such a pattern.
    """
    chosen: dict[str, Sequence[str]] = {}
    layers: list[str] = []
    paths: list[str] = []
    for each, given in checkpoints:
        if each.modules.chosen:
            chosen |= each.modules.chosen
            layers += [hidden.layer.id for hidden in hidden_layers(each, given)]
            paths += [path for path, _ in each.network().named_modules() if path]
    check_chosen(chosen, layers, paths)


def check_layers(
    patterns: Sequence[str], checkpoints: Iterable[tuple[Checkpoint, Tensor]], activations: Activations
) -> None:
    """Refuses a pattern that matches no hidden layer of any of the networks: its verdict would rest on nothing.

    Args:
        patterns: Globs on layer ids and labels.
        checkpoints: Each with a batch as its network takes them.
        activations: Declared nonlinearities.

    Raises:
        ConfigurationError: there is such a pattern; lists the layers.
    """
    doubtful = [pattern for pattern in patterns if pattern != "*"]
    if not doubtful:
        return
    layers = [hidden.layer for each, given in checkpoints for hidden in hidden_layers(each, given, activations)]
    known = list(dict.fromkeys(name for layer in layers for name in (layer.id, layer.label)))
    for pattern in doubtful:
        if not any(fnmatchcase(name, pattern) for name in known):
            ids = dict.fromkeys(layer.id for layer in layers)
            raise ConfigurationError(f"--layer {pattern} matches no layer. {suggestion(pattern, ids)}")


def widest_hidden(checkpoint: Checkpoint) -> int:
    """Returns the units of the widest hidden layer; 0 where the checkpoint does not tell what its network takes."""
    shape = checkpoint.observation_shape
    if shape is None:
        return 0
    found = hidden_layers(checkpoint, checkpoint.prepare(blank_observation(shape)))
    return max((each.units for each in found), default=0)
