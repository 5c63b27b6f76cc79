"""Feature matrices of layers: the outputs themselves, for probes that sums and spectra cannot serve."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probe.capture import Activations, Layer, capture, unit_axis

if TYPE_CHECKING:
    from probe.subject import Subject


def unit_columns(output: Float[Tensor, "batch ..."]) -> Float[Tensor, "value unit"]:
    """Returns every value of each unit, float64: a row a sample and position.

    Units are the second axis of (batch, channel, height, width) and the last one of (batch, unit) and (batch, time,
    unit), as in the statistics.
    """
    moved = output.movedim(unit_axis(output), -1)
    return moved.reshape(-1, moved.shape[-1]).double()


def feature_rows(output: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch unit"]:
    """Returns the feature matrix of a batch of outputs, float64: the mean over positions, a row a sample."""
    if output.ndim == 2:
        return output.double()
    positions = tuple(range(2, output.ndim)) if output.ndim >= 4 else (1,)
    return output.mean(positions, dtype=torch.float64)


@torch.no_grad()
def layer_features(
    network: nn.Module,
    observations: Tensor,
    layers: Collection[str] | None = None,
    activations: Activations | None = None,
) -> dict[str, Float[Tensor, "batch unit"]]:
    """Runs a network once and returns the feature rows of its layers.

    Args:
        network: Any module, in eval mode.
        observations: A batch as the network takes it.
        layers: The layer ids to keep; None: all.
        activations: Declared nonlinearities.
    """
    parts: dict[str, list[Tensor]] = {}

    def keep(layer: Layer, output: Tensor, _: Tensor | None) -> None:
        if output.ndim >= 2 and (layers is None or layer.id in layers):
            parts.setdefault(layer.id, []).append(feature_rows(output))

    with capture(network, keep, activations=activations):
        network(observations)
    return {layer: torch.cat(steps) for layer, steps in parts.items()}


def has_row_per_observation(subject: "Subject", layer: str) -> bool:
    """Whether a layer's feature rows are the observations'; of a recurrent layer they can be more time steps."""
    return subject.statistics[layer].samples == subject.count
