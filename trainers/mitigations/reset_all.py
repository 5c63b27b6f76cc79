"""Resetting the whole network at task shifts."""

import torch

from probe.trainers.base import Trainer
from probe.trainers.mitigations.base import register
from probe.trainers.mitigations.intervening import AtShift
from probe.trainers.renewal import renew


@register("reset-all")
class ResetAll(AtShift):
    """Draws the whole network anew at every task shift, without moments: what a fresh network learns, as a reference.

    Source: `reset-all` of Juliani & Ash 2024, arXiv:2405.19153.
    """

    def intervene(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Resets every module."""
        paths = list(agent.network.spec.modules)
        self.record(agent, renew(agent.network, paths, optimizer, rng), layers=paths)
        agent.synchronise()
