"""One checkpoint on one observation set, as probes see it that need more than a layer's statistics."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.capture import Activations
from probe.checkpoints.base import Checkpoint
from probe.inputs import network_inputs
from probe.modules import ModuleMap
from probe.observations import ObservationSet
from probe.statistics.layer import LayerStatistics

if TYPE_CHECKING:
    from probe.probes.base import Findings, Probe

Controls = Callable[["Subject", "Probe"], "Findings | None"]
"""(subject, probe) -> what the probe compares the subject with."""
Known = Callable[["Probe"], "Findings | None"]
"""A probe -> what it has found at the subject; None where that is not known."""


@dataclass(frozen=True)
class Point:
    """One checkpoint of a series by its statistics alone."""

    step: int
    task: int
    modules: ModuleMap
    statistics: Mapping[str, LayerStatistics]
    """By layer id, in call order."""


class Subject:
    """A checkpoint, an observation set, and the statistics of the one on the other."""

    activations: Activations | None = None
    """Declared nonlinearities, which every capture of this subject's network must be given."""
    _known: Known | None = None

    def __init__(
        self,
        checkpoint: Checkpoint,
        observations: ObservationSet,
        statistics: Mapping[str, LayerStatistics],
        layers: Mapping[str, Mapping[str, Any]],
        samples: int | None = None,
        activations: Activations | None = None,
        control: "Controls | None" = None,
        known: Known | None = None,
    ) -> None:
        """Names the parts; nothing is read before it is asked for.

        Args:
            checkpoint: The network's checkpoint.
            observations: The observation set.
            statistics: By layer id, in call order.
            layers: Layer id -> label, path, function, position.
            samples: Observations to use, spread evenly over the set; None: all.
            activations: Declared nonlinearities.
            control: Gives what a probe compares checkpoints with; None: it is made anew.
            known: Gives what a probe has found here before; None: nothing is known.
        """
        self._controls, self._known = control, known
        self.checkpoint, self.observations, self.samples = checkpoint, observations, samples
        self.activations = activations
        self.statistics, self.layers = statistics, layers

    @property
    def modules(self) -> ModuleMap:
        """Which module a layer belongs to."""
        return self.checkpoint.modules

    @property
    def count(self) -> int:
        """Observations that are used."""
        total = self.observations.samples
        return total if self.samples is None else min(self.samples, total)

    def network(self) -> nn.Module:
        """Returns a private copy of the network, in eval mode; the probe may change it."""
        return self.checkpoint.network()

    def batches(self, batch_size: int | None = None, samples: int | None = None) -> Iterator[Tensor]:
        """Yields observations as the network takes them, `ObservationSet.pass_size` at a time unless told otherwise.

        `samples` asks for fewer, spread evenly.
        """
        count = self.count if samples is None else min(samples, self.count)
        size = batch_size or self.observations.pass_size
        yield from network_inputs(self.checkpoint, self.observations, size, count)

    def column(self, name: str, samples: int | None = None) -> NDArray[Any]:
        """Returns a column of the observation set (`actions`, `returns`, ...) for the rows that `batches` yields.

        Raises:
            UnknownNameError: the set has no such column.
        """
        count = self.count if samples is None else min(samples, self.count)
        rows = np.arange(count) * self.observations.samples // count
        return np.asarray(self.observations.column(name)[rows])

    @cached_property
    def has_returns(self) -> bool:
        """Whether any stored observation has a discounted return."""
        return bool(np.isfinite(self.observations.column("returns")).any())

    def control(self, probe: "Probe") -> "Findings | None":
        """Returns what a probe compares this checkpoint with; None where it has no control here."""
        if self._controls is not None:
            return self._controls(self, probe)
        return None if probe.control_key(self) is None else probe.measure_control(self)

    def findings(self, probe: "Probe") -> "Findings":
        """Returns what another probe finds at this checkpoint on this set, measured only where it is not known."""
        found = None if self._known is None else self._known(probe)
        return probe.measure(self) if found is None else found

    def generator(self, purpose: str, draw: int = 0) -> torch.Generator:
        """Returns a random stream that is the same at every checkpoint, so that checkpoints are compared in pairs."""
        seed = int.from_bytes(sha256(f"{purpose}/{draw}".encode()).digest()[:7], "big")
        return torch.Generator().manual_seed(seed)
