"""What one foreign file holds, whichever format it is in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from probe.checkpoints.layout import Layout
from probe.checkpoints.stacks import Tensors
from probe.modules import ModuleMap
from probe.policies import gaussian


class Policy(ABC):
    """A network that its own file describes."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """How stored observations reach it."""

    @abstractmethod
    def build(self, tensors: Tensors) -> nn.Module:
        """Builds it, without values."""

    @property
    def exploration(self) -> float | None:
        """With which probability a random action was taken beside the best one; None where actions were drawn."""
        return None

    @property
    def action_shape(self) -> tuple[int, ...] | None:
        """Of the actions that its critics take beside observations; None where they take none."""
        return None

    def with_actions(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Joins prepared observations and actions in the environment's units to what its network takes."""
        raise NotImplementedError

    def draw(self, outputs: Mapping[str, Tensor], generator: torch.Generator) -> Tensor | None:
        """Draws continuous actions from its network's outputs, in the environment's units; None where it cannot."""
        if "mean" not in outputs or "log_std" not in outputs:
            return None
        return gaussian(outputs["mean"], outputs["log_std"], generator)


@dataclass(frozen=True)
class Content:
    """Tensors and what else a file says."""

    format: str
    """A key of `probe.checkpoints.formats`."""
    tensors: Mapping[str, Tensor]
    """Parameters and buffers, by the network's own names as far as these are known."""
    step: int | None = None
    count: int | None = None
    """Updates or epochs, for want of a step."""
    algorithm: str = ""
    seed: int | None = None
    modules: ModuleMap | None = None
    """Where the format knows them."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the file says that its network was made with, by parameter name."""
    policy: Policy | None = None
    program: nn.Module | None = None
    """The network itself, of files that hold it."""
    remarks: tuple[str, ...] = ()
    """What the user should know, as sentences."""
