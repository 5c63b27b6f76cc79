"""Shrink and perturb at task shifts."""

import torch
from pydantic import Field

from probe.models import FrozenModel
from probe.trainers.base import Trainer
from probe.trainers.mitigations.base import register
from probe.trainers.mitigations.intervening import AtShift
from probe.trainers.renewal import renew


@register("shrink-perturb")
class ShrinkPerturb(AtShift):
    """Shrink and perturb: at task shifts every parameter shrinks and gets a share of a newly initialised network's.

    theta becomes a theta + b theta', without moments, with theta' one draw of the whole initialisation, whose
    normalisation gains are 1. Running statistics of batch normalisation stay.
    Source: Ash & Adams 2020, arXiv:1910.08475; a = b = 0.5 is `sp-5-5` of Juliani & Ash 2024, arXiv:2405.19153.
    """

    class Settings(FrozenModel):
        """How much of the old network stays and how much of a new one comes."""

        shrink: float = Field(default=0.5, ge=0, le=1)
        """The factor a."""
        perturb: float = Field(default=0.5, ge=0, le=1)
        """The factor b."""

    settings: Settings

    def intervene(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Changes every module."""
        paths, settings = list(agent.network.spec.modules), self.settings
        size = renew(agent.network, paths, optimizer, rng, settings.shrink, settings.perturb)
        self.record(agent, size, layers=paths, shrink=settings.shrink, perturb=settings.perturb)
        agent.synchronise()
