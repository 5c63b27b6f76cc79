"""The feature rows of some observations, kept while the pass that a checkpoint's probes share sees all of them."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probe.capture import Layer, unit_axis
from probe.features import feature_rows
from probe.passes import Observer

Chosen = Callable[[Mapping[str, Tensor]], Collection[str]]
"""A batch's feature rows by layer, in call order -> the layers to keep."""


class StoredFeatures(Observer):
    """Holds the feature matrices of a fixed choice of the observations in memory, and of no others."""

    def __init__(self, rows: Int[Tensor, "row"], widest: int, choose: Chosen) -> None:
        """Starts empty.

        Args:
            rows: The observations to keep, as ascending indices into those that are used.
            widest: Units above which a layer is passed over.
            choose: Which of the other layers are kept; the last rows' choice must be that of the first.
        """
        self.rows = rows
        self._widest, self._choose = widest, choose
        self._batch: dict[str, list[Tensor]] = {}
        self._kept: dict[str, list[Tensor]] = {}

    def see_layer(self, layer: Layer, output: Tensor, pre_activation: Tensor | None) -> None:
        """Keeps the feature rows of a batch until its end."""
        if output.shape[unit_axis(output)] <= self._widest:
            self._batch.setdefault(layer.id, []).append(feature_rows(output))

    def see_outputs(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        """Keeps those of the chosen observations, of layers with a row an observation."""
        features = {layer: torch.cat(steps) for layer, steps in self._batch.items()}
        self._batch.clear()
        wanted = torch.isin(rows, self.rows)
        for layer in self._choose(features):
            if len(features[layer]) == len(rows):
                self._kept.setdefault(layer, []).append(features[layer][wanted])

    def has(self, layer: str) -> bool:
        """Whether a layer gave the rows of all observations to keep."""
        return sum(map(len, self._kept.get(layer, ()))) == len(self.rows)

    def matrix(self, layer: str) -> Float[Tensor, "row unit"]:
        """Returns the feature matrix of a layer that `has` says there is."""
        return torch.cat(self._kept[layer])
