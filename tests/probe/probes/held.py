"""Subjects for tests of single probes: a network given by hand, with real statistics, on observations given by hand."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probe.capture import Activations, capture
from probe.checkpoints.base import Checkpoint
from probe.modules import ModuleMap
from probe.observations import ObservationSet
from probe.statistics.collector import StatisticsCollector
from probe.subject import Subject

Factory = Callable[[int], nn.Module]


class Held(Checkpoint):
    """A checkpoint that holds its network in memory."""

    def __init__(self, network: nn.Module, fresh: Factory | None = None, step: int = 0) -> None:
        self._network, self._fresh, self._step = network, fresh, step
        self.path = Path("memory")

    @property
    def step(self) -> int:
        return self._step

    @property
    def digest(self) -> str:
        return "0" * 64

    @property
    def description(self) -> dict[str, Any]:
        return {"step": self._step}

    @property
    def modules(self) -> ModuleMap:
        return ModuleMap.of(("encoder", "actor", "critic"))

    def network(self) -> nn.Module:
        return copy.deepcopy(self._network).eval()

    def fresh(self, seed: int) -> nn.Module | None:
        return None if self._fresh is None else self._fresh(seed).eval()

    def prepare(self, batch: Tensor) -> Tensor:
        return batch


class HeldObservations(ObservationSet):
    """An observation set in memory, without returns where none are given."""

    def __init__(self, observations: Tensor, columns: dict[str, Any] | None = None, task: int = 0) -> None:
        attributes = {"sha256": f"{task:064d}", "task": task}
        super().__init__(Path("memory"), len(observations), tuple(observations.shape[1:]), attributes)
        self._observations = observations
        known = {"returns": np.full(len(observations), np.nan), "actions": np.zeros(len(observations), np.int64)}
        self._columns = {**known, **(columns or {})}

    def batches(self, batch_size: int, samples: int | None = None) -> Any:
        total = self.samples if samples is None else min(samples, self.samples)
        chosen = torch.arange(total) * self.samples // total
        yield from self._observations[chosen].split(batch_size)

    def column(self, name: str) -> Any:
        return np.asarray(self._columns[name])


def subject_of(
    network: nn.Module,
    observations: Tensor,
    fresh: Factory | None = None,
    columns: dict[str, Any] | None = None,
    task: int = 0,
) -> Subject:
    """Measures a network's layers and returns it as probes see it."""
    return subject_at(Held(network, fresh), observations, columns, task)


def subject_at(
    checkpoint: Held,
    observations: Tensor,
    columns: dict[str, Any] | None = None,
    task: int = 0,
    activations: Activations | None = None,
) -> Subject:
    """Measures the layers of a checkpoint's network and returns it as probes see it."""
    collector, network = StatisticsCollector(), checkpoint.network()
    with torch.no_grad(), capture(network, collector, activations=activations):
        network(observations)
    layers = {
        key: {"label": each.label, "path": each.path, "function": each.function, "position": each.position}
        for key, each in collector.descriptions.items()
    }
    held = HeldObservations(observations, columns, task)
    return Subject(checkpoint, held, collector.layers, layers, activations=activations)
