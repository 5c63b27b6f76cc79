"""What a checkpoint and a series of checkpoints are, whatever wrote them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probe.modules import ModuleMap

NONE = -1
"""Frames or updates that a checkpoint does not say."""


class Checkpoint(ABC):
    """One saved network: opened lazily, never changed."""

    path: Path

    @property
    @abstractmethod
    def step(self) -> int:
        """Agent decisions, summed over the environments."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of the content."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Plain facts for tables: run, method, seed, task, step, frames, updates, algorithm, format."""

    @property
    @abstractmethod
    def modules(self) -> ModuleMap:
        """Which module a layer belongs to."""

    @property
    def exploration(self) -> float | None:
        """With which probability a random action was taken beside the best one; None where actions were drawn."""
        return None

    def draw(self, outputs: Mapping[str, Tensor], generator: torch.Generator) -> Tensor | None:
        """Draws continuous actions from a network's outputs as in training, in the environment's units.

        They may lie outside of the environment's bounds. None where it is not known how they are drawn.
        """
        return None

    @abstractmethod
    def network(self) -> nn.Module:
        """Returns a private copy of the network, in eval mode."""

    @abstractmethod
    def fresh(self, seed: int) -> nn.Module | None:
        """Returns the same architecture newly initialised, in eval mode, or None where that is unknown."""

    @abstractmethod
    def prepare(self, batch: Tensor) -> Tensor:
        """Turns stored observations into what the network takes.

        Raises:
            ShapeError: they do not fit the network.
        """

    @property
    def action_shape(self) -> tuple[int, ...] | None:
        """Of a stored action that its critics take beside the observation; None where they take none."""
        return None

    @property
    def needs_actions(self) -> bool:
        """Whether its network cannot run on observations alone; it takes actions of any shape that it can run on."""
        return False

    def with_actions(self, batch: Tensor, actions: Tensor) -> Tensor:
        """Turns stored observations and the actions that belong to them into what the network takes.

        One tensor, so that any probe can cut and join batches; only asked for where it takes actions.

        Raises:
            ShapeError: they do not fit the network.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Returns what `probe inspect` shows of the network, by name."""
        return {}

    @property
    def observation_shape(self) -> tuple[int, ...] | None:
        """Of a stored observation; None where it is not known."""
        return None

    def notes(self, shape: tuple[int, ...] | None = None) -> tuple[str, ...]:
        """Returns what was assumed or left out, as sentences, where observations of a shape are given."""
        return ()

    def verify(self) -> bool:
        """Whether the content matches the digest that is stored with it, if one is."""
        return True


@dataclass(frozen=True)
class Series:
    """The checkpoints of one run, in step order."""

    path: Path
    run: str
    method: str
    seed: int
    checkpoints: tuple[Checkpoint, ...]

    @property
    def label(self) -> str:
        """What a person calls this series."""
        return f"{self.run} / {self.method} / seed {self.seed}" if self.method else self.run
