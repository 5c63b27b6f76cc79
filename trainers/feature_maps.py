"""Images of what the convolutions make of one observation."""

from collections.abc import Collection, Mapping
from math import ceil, sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probe.capture import Layer, capture
from probe.events import Image
from probe.networks import Network

_GAP = 1
"""Pixels between the channels."""


def tiled(maps: Float[Tensor, "channel y x"], white: float) -> Image:
    """Returns the channels side by side, left to right and down: |h| from 0, black, to `white`; gaps are mid-grey."""
    channels, height, width = maps.shape
    across = ceil(sqrt(channels))
    down = ceil(channels / across)
    picture = np.full((down * (height + _GAP) - _GAP, across * (width + _GAP) - _GAP), 127, np.uint8)
    brightness = (maps.abs() / white if white > 0 else torch.zeros_like(maps)).clamp(max=1) * 255
    for index, each in enumerate(brightness.round().to(torch.uint8).numpy()):
        top, left = index // across * (height + _GAP), index % across * (width + _GAP)
        picture[top : top + height, left : left + width] = each
    return picture


class FeatureMaps:
    """Draws the outputs of layers; white is the largest |h| that any of a layer's pictures had, so that loss shows."""

    def __init__(self) -> None:
        """Has drawn nothing yet."""
        self._white: dict[str, float] = {}

    @torch.no_grad()
    def draw(self, network: Network, observation: Tensor, layers: Collection[str]) -> dict[str, Image]:
        """Returns a picture of every layer with a height and a width, by label; not of one with a NaN.

        Args:
            network: left as it was, in the mode that it was in.
            observation: one, as it is stored.
            layers: ids of the layers to draw.
        """
        maps: dict[str, Tensor] = {}

        def keep(layer: Layer, output: Tensor, _: Tensor | None) -> None:
            if layer.id in layers and output.ndim == 4 and output.isfinite().all():
                maps[layer.label] = output[0].float().cpu().contiguous().clone()

        training = network.training
        network.eval()
        with capture(network, keep):
            network(observation.unsqueeze(0))
        network.train(training)
        for label, each in maps.items():
            self._white[label] = max(self._white.get(label, 0.0), each.abs().max().item())
        return {label: tiled(each, self._white[label]) for label, each in maps.items()}

    def get_state(self) -> dict[str, float]:
        """Returns what white stands for, by label."""
        return dict(self._white)

    def set_state(self, state: Mapping[str, float]) -> None:
        """Continues where `get_state` was called."""
        self._white = dict(state)
