"""ReDo: recycling dormant units."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from probe.networks.consumers import UnitLayer
from probe.probes.dormancy import dormancy_scores
from probe.probes.pruning import highest, lowest, random_units
from probe.trainers.base import Trainer
from probe.trainers.mitigations.base import register
from probe.trainers.mitigations.intervening import Periodic, PeriodSettings
from probe.trainers.units import mean_magnitudes, replace_units, replaceable_layers

Selection = Literal["dormant", "random", "highest"]


def selected(
    scores: Float[Tensor, "unit"], tau: float, select: Selection, rng: torch.Generator
) -> Bool[Tensor, "unit"]:
    """Returns the dormant units, or, as negative controls, as many random ones or as many of the highest scores."""
    dormant = lowest(scores, tau)
    count = int(dormant.sum())
    if select == "random":
        return random_units(count, len(scores), rng)
    return highest(scores, count) if select == "highest" else dormant


@register("redo")
class Redo(Periodic):
    """ReDo: dormant units get new incoming weights, outgoing weights of zero, and no Adam moments of either.

    A unit is dormant where E|h_i| / mean_k E|h_k| <= tau on the last rollout, or on the replay. Its incoming weights
    and its bias are drawn as the layer's first ones were, its outgoing weights become zero in every layer that reads
    it; a target network follows at its next copy. A unit of a convolution is a channel, one of CReLU or Fourier
    features is a pair. Left alone, and named in a note: units of a residual stream, which the stream's other readers
    see without the nonlinearity, units that are normalised before they are read, and the outputs.
    Source: Sokar et al. 2023, arXiv:2302.12902, Algorithm 1, with tau of its DQN setting. Period and sample as in the
    public code of Juliani & Ash 2024, arXiv:2405.19153: 10 updates are 480 optimiser steps of `coinrun`; the paper's
    DQN, and the preset `phoenix`, have 1,000.
    """

    class Settings(PeriodSettings):
        """When units are recycled, and which."""

        tau: float = Field(default=0.025, ge=0)
        """Largest score that counts as dormant."""
        period: int = Field(default=10, ge=1)
        unit: Literal["updates", "optimizer-steps"] = "updates"
        samples: int = Field(default=64, ge=1)
        """Observations that a score is measured on, evenly spread over the last rollout or the replay."""
        select: Selection = "dormant"
        """Which units go; `random` and `highest` take as many as are dormant and are negative controls."""

    settings: Settings
    counted = "units"

    def __init__(self, settings: Settings) -> None:
        """Takes the settings; nothing has been recycled yet."""
        super().__init__(settings)
        self._layers: list[UnitLayer] = []

    def begin(self, agent: Trainer, rng: torch.Generator) -> None:
        """Finds the layers whose units can be replaced one by one."""
        self._layers = replaceable_layers(agent, self.name)

    def intervene(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Recycles the units that are dormant now."""
        means = mean_magnitudes(agent.network, self._layers, agent.observations(self.settings.samples))
        tau, select = self.settings.tau, self.settings.select
        chosen = {path: selected(dormancy_scores(each), tau, select, rng) for path, each in means.items()}
        # The last layer first: a new unit's incoming weights from other new units must end as those units' zeros.
        for layer in reversed(self._layers):
            if chosen[layer.path].any():
                replace_units(agent.network, layer, chosen[layer.path], optimizer, rng)
        units = {path: each.nonzero().flatten().tolist() for path, each in chosen.items() if each.any()}
        self.record(agent, sum(len(each) for each in units.values()), units=units)
