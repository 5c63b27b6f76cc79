"""Resetting a late layer periodically."""

from typing import Literal

import torch
from pydantic import Field

from probe.errors import ConfigurationError
from probe.networks.cuts import heads
from probe.trainers.base import Trainer
from probe.trainers.mitigations.base import register
from probe.trainers.mitigations.intervening import Periodic, PeriodSettings
from probe.trainers.renewal import penultimate_layers, renew


@register("reset-periodic")
class ResetPeriodic(Periodic):
    """Draws the penultimate layer, or actor and critic, anew every so often, without moments.

    Source: Nikishin et al. 2022, arXiv:2205.07802; penultimate layer and period as in the baseline of Sokar et al.
    2023, arXiv:2302.12902. `coinrun` makes 48 optimiser steps an update, so its 3,000 updates have one reset; give
    shorter runs a shorter period.
    """

    class Settings(PeriodSettings):
        """What is reset, and when."""

        layer: Literal["penultimate", "heads"] = "penultimate"
        """The layer that the outputs read, with its normalisation, or actor and critic."""
        period: int = Field(default=100_000, ge=1)
        unit: Literal["updates", "optimizer-steps"] = "optimizer-steps"

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        """Takes the settings; nothing has been reset yet."""
        super().__init__(settings)
        self._paths: list[str] = []

    def begin(self, agent: Trainer, rng: torch.Generator) -> None:
        """Finds the layers.

        Raises:
            ConfigurationError: there is no penultimate layer.
        """
        spec = agent.network.spec
        self._paths = heads(spec) if self.settings.layer == "heads" else penultimate_layers(spec)
        if not self._paths:
            raise ConfigurationError(
                f"Network '{spec.name}' has no penultimate layer of its own to reset. Set "
                "mitigation.reset-periodic.layer=heads."
            )

    def intervene(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Resets the layers."""
        self.record(agent, renew(agent.network, self._paths, optimizer, rng), layers=self._paths)
        agent.synchronise()
