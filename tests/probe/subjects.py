"""A subject made of a network and observations in memory, for probes that need more than a layer's statistics."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.capture import Layer, capture
from probe.modules import FROZEN, ModuleMap
from probe.statistics.layer import LayerStatistics
from probe.subject import Subject


class MemorySubject(Subject):
    """Gives a network and rows that were never written to a file."""

    def __init__(
        self, network: nn.Module, observations: Tensor, columns: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        self.samples = None
        self._network, self._rows, self._columns = network, observations, columns or {}
        self.statistics: dict[str, LayerStatistics] = {}
        self.layers: dict[str, dict[str, Any]] = {}
        running = self.network()
        with torch.no_grad(), capture(running, self._add):
            running(observations)

    def _add(self, layer: Layer, output: Tensor, _: Tensor | None) -> None:
        described = {"label": layer.label, "path": layer.path, "function": layer.function, "position": layer.position}
        self.layers.setdefault(layer.id, described)
        self.statistics.setdefault(layer.id, LayerStatistics()).update(output)

    @property
    def modules(self) -> ModuleMap:
        return ModuleMap.of(tuple(name for name, _ in self._network.named_children() if name != FROZEN))

    @property
    def count(self) -> int:
        return len(self._rows)

    def network(self) -> nn.Module:
        return copy.deepcopy(self._network).eval()

    def batches(self, batch_size: int | None = None, samples: int | None = None) -> Iterator[Tensor]:
        count = self.count if samples is None else min(samples, self.count)
        yield from torch.split(self._rows[np.arange(count) * self.count // count], batch_size or self.count)

    def column(self, name: str, samples: int | None = None) -> NDArray[Any]:
        assert samples is None
        return self._columns[name]

    @property
    def has_returns(self) -> bool:
        return "returns" in self._columns and bool(np.isfinite(self._columns["returns"]).any())
