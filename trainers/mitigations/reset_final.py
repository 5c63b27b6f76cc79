"""Resetting the heads at task shifts."""

import torch

from probe.networks.cuts import heads
from probe.trainers.base import Trainer
from probe.trainers.mitigations.base import register
from probe.trainers.mitigations.intervening import AtShift
from probe.trainers.renewal import renew


@register("reset-final")
class ResetFinal(AtShift):
    """Draws actor and critic anew at every task shift, without moments; the encoder stays.

    Source: `reset-final` of Juliani & Ash 2024, arXiv:2405.19153; resets of last layers are Nikishin et al. 2022,
    arXiv:2205.07802.
    """

    def intervene(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Resets the heads."""
        paths = heads(agent.network.spec)
        self.record(agent, renew(agent.network, paths, optimizer, rng), layers=paths)
        agent.synchronise()
