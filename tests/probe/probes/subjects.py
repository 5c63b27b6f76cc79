"""Subjects made of a network and a tensor of observations, for probes that need a network."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.capture import capture
from probe.modules import ModuleMap
from probe.probes.base import Findings, Reading
from probe.statistics.collector import StatisticsCollector
from probe.subject import Subject


class Made(Subject):
    """A network on observations, measured as the engine does, without files."""

    def __init__(
        self,
        network: nn.Module,
        observations: Tensor,
        columns: dict[str, NDArray[Any]] | None = None,
        modules: tuple[str, ...] = ("encoder", "actor", "critic"),
        batch: int = 64,
    ) -> None:
        collector = StatisticsCollector()
        with torch.no_grad(), capture(network, collector):
            network(observations)
        self.statistics = collector.layers
        self.layers = {
            key: {"function": each.function, "label": each.label, "path": each.path, "position": each.position}
            for key, each in collector.descriptions.items()
        }
        self._network, self._rows, self._batch = network, observations, batch
        self._columns = {"actions": np.zeros(len(observations), np.int64), **(columns or {})}
        self._modules = ModuleMap.of(modules)

    @property
    def modules(self) -> ModuleMap:
        return self._modules

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def has_returns(self) -> bool:  # type: ignore[override]
        return "returns" in self._columns and bool(np.isfinite(self._columns["returns"]).any())

    def network(self) -> nn.Module:
        return self._network

    def _chosen(self, samples: int | None) -> NDArray[Any]:
        count = self.count if samples is None else min(samples, self.count)
        return np.arange(count) * self.count // count

    def batches(self, batch_size: int | None = None, samples: int | None = None) -> Iterator[Tensor]:
        yield from self._rows[torch.from_numpy(self._chosen(samples))].split(self._batch)

    def column(self, name: str, samples: int | None = None) -> NDArray[Any]:
        return self._columns[name][self._chosen(samples)]


class Features(nn.Module):
    """Observations are the outputs of the layer `encoder`, shifted so that ReLU leaves them as they are."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*modules) if modules else nn.ReLU()

    def forward(self, observations: Tensor) -> Tensor:
        output: Tensor = self.encoder(observations)
        return output


def by_metric(findings: Findings, layer: str) -> dict[str, Reading]:
    """Returns the readings of one layer; a threshold that tells two apart is part of the name."""
    names = [each.reading.metric for each in findings.readings if each.layer == layer]
    return {
        each.reading.metric
        if names.count(each.reading.metric) == 1
        else f"{each.reading.metric}@{each.reading.threshold:g}": each.reading
        for each in findings.readings
        if each.layer == layer
    }
