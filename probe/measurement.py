"""One work item of an analysis: one checkpoint's forward pass over one observation set, and what it leaves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.checkpoints.base import Checkpoint
from probe.files import tensor_digest
from probe.observations import ObservationSet
from probe.passes import SharedPass, losses_of, make_pass, observers_of
from probe.probes.base import Probe
from probe.results import Analysis
from probe.results.parts import PartStore
from probe.results.writing import KEY_LENGTH
from probe.statistics.collector import StatisticsCollector
from probe.statistics.layer import LayerStatistics
from probe.subject import Subject

_SEPARATOR = "/"
_DERIVED = ("mean", "mean_abs", "mean_square", "activation_rate", "zero_rate")


@dataclass(frozen=True)
class WorkItem:
    """A forward pass to make, and where its part goes; plain data that travels to other processes."""

    checkpoint: Checkpoint
    data: ObservationSet = field(compare=False)
    data_digest: str
    samples: int | None
    out: Path
    activations: tuple[tuple[str, str], ...] = ()
    """Declared nonlinearities; another declaration is another measurement."""

    @property
    def key(self) -> str:
        """The part's name."""
        amount = "all" if self.samples is None else str(self.samples)
        declared = sha256(json.dumps(self.activations).encode()).hexdigest()[:KEY_LENGTH]
        return f"{self.checkpoint.digest[:KEY_LENGTH]}-{self.data_digest[:KEY_LENGTH]}-{amount}-{declared}"

    @property
    def done(self) -> bool:
        """Whether the part is there, whole."""
        return PartStore(self.out).load(self.key) is not None


@dataclass(frozen=True)
class Measurement:
    """Statistics of every layer of one checkpoint on one observation set."""

    layers: Mapping[str, Mapping[str, Any]]
    """Layer id -> label, path, function, position; in call order."""
    statistics: Mapping[str, LayerStatistics]
    samples: int
    """Observations that went through the network; a recurrent layer has seen as many time steps, or more."""

    def chosen(self, patterns: Sequence[str]) -> dict[str, LayerStatistics]:
        """Returns the layers whose id or label matches a glob pattern."""
        return {
            layer: statistics
            for layer, statistics in self.statistics.items()
            if any(fnmatchcase(layer, each) or fnmatchcase(self.layers[layer]["label"], each) for each in patterns)
        }

    @classmethod
    def from_part(cls, item: WorkItem) -> "Measurement | None":
        """Reads the part that `measure` wrote; None where there is none."""
        part = PartStore(item.out).load(item.key)
        if part is None:
            return None
        arrays, described = part
        layers = described["layers"]
        by_layer: dict[str, dict[str, NDArray[Any]]] = {layer: {} for layer in layers}
        for name, array in arrays.items():
            layer, _, key = name.rpartition(_SEPARATOR)
            by_layer[layer][key] = array
        statistics = {layer: LayerStatistics.from_arrays(by_layer[layer]) for layer in layers}
        return cls(layers, statistics, described["samples"])

    @classmethod
    def from_analysis(cls, analysis: Analysis, checkpoint: str, data: str) -> "Measurement | None":
        """Reads what an analysis file holds of one checkpoint on one set; None where it was not measured."""
        records = [each for each in analysis.layers if (each["checkpoint"], each["data"]) == (checkpoint, data)]
        if not records:
            return None
        arrays = analysis.layer_arrays(checkpoint, data)
        ordered = sorted(records, key=lambda record: record["position"])
        statistics = {each["layer"]: LayerStatistics.from_arrays(arrays[each["layer"]]) for each in ordered}
        return cls({each["layer"]: each for each in ordered}, statistics, records[0]["samples"])

    def arrays(self, probes: Sequence[Probe]) -> dict[str, dict[str, NDArray[Any]]]:
        """Returns what the analysis file keeps of each layer: statistics, means and rates, and the probes' arrays."""
        kept: dict[str, dict[str, NDArray[Any]]] = {}
        for layer, statistics in self.statistics.items():
            arrays = statistics.to_arrays()
            arrays |= {name: getattr(statistics, name).numpy() for name in _DERIVED}
            if statistics.finite:
                for probe in probes:
                    arrays |= probe.arrays(layer, statistics)
            kept[layer] = arrays
        return kept


def unmeasured(item: WorkItem) -> Subject:
    """Returns a checkpoint on its set before its forward pass: without statistics."""
    data = item.data.of(item.checkpoint.digest)
    return Subject(item.checkpoint, data, {}, {}, item.samples, dict(item.activations))


def measure(item: WorkItem, probes: Sequence[Probe] = ()) -> SharedPass:
    """Runs a checkpoint's network over an observation set and writes the part of its statistics.

    Args:
        item: The checkpoint and the set.
        probes: Those that gather what they need on the way.

    Returns:
        What these have gathered; see `probe.passes.adopt`.

    Raises:
        ProbeError: checkpoint or observations cannot be read, or do not fit each other.
        RuntimeError: the forward passes changed the network's state.
    """
    subject = unmeasured(item)
    network = subject.network().eval()
    before = state_digest(network)
    collector = StatisticsCollector()
    shared, squashed = make_pass(subject, network, observers_of(subject, probes), losses_of(probes), collector)
    collector.drop(squashed)
    if state_digest(network) != before:
        raise RuntimeError(f"{item.checkpoint.path}: a forward pass in eval mode changed the network's state.")
    _save(item, collector, subject.count)
    return shared


def _save(item: WorkItem, collector: StatisticsCollector, samples: int) -> None:
    arrays = {
        f"{layer}{_SEPARATOR}{name}": np.asarray(array)
        for layer, statistics in collector.layers.items()
        for name, array in statistics.to_arrays().items()
        if name != "factor"  # the spectra are made from it; it takes more room than all the rest
    }
    described = {
        layer: {"label": each.label, "path": each.path, "function": each.function, "position": each.position}
        for layer, each in collector.descriptions.items()
    }
    PartStore(item.out).save(item.key, arrays, {"samples": samples, "layers": described})


def state_digest(network: nn.Module) -> str:
    """Returns the SHA-256 of a network's parameters and buffers."""
    state = {name: tensor.cpu().reshape(-1).view(torch.uint8).numpy() for name, tensor in _tensors(network)}
    return tensor_digest(state, {})


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # A state_dict may hold other things too (`get_extra_state`).
    return ((name, each.detach()) for name, each in network.state_dict().items() if isinstance(each, Tensor))
