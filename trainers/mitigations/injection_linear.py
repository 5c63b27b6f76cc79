"""Plasticity injection into linear heads, in the form of public on-policy code."""

import torch

from probe.networks import build
from probe.networks.cuts import heads
from probe.trainers.base import Trainer
from probe.trainers.mitigations.base import register
from probe.trainers.mitigations.intervening import AtMoments
from probe.trainers.moments import adopt_parameters, reset_moments


@register("injection-linear")
class LinearInjection(AtMoments):
    """Injection as in public on-policy code: to each head a new linear layer is added, and a frozen copy subtracted.

    The output becomes W x + A x - B x, A = B newly drawn; W, A and all else learn, A without moments, so that more
    parameters learn than before, and no gradient reaches the encoder through B. Another injection folds A - B into W
    first. `injection` is the method of the paper; this is what public on-policy results are of.
    Source: the `inject` condition of Juliani & Ash 2024, arXiv:2405.19153.
    """

    def intervene(self, agent: Trainer, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Injects into actor and critic."""
        network, fresh = agent.network, build(agent.network.spec, rng)
        changed = heads(network.spec)
        added = []
        for name in changed:
            added += list(network.inject_output(name, fresh).added.parameters())
            for copied in agent.copies:
                copied.inject_output(name, fresh).requires_grad_(False)
        reset_moments(optimizer, added)
        adopt_parameters(optimizer, network)
        self.record(agent, sum(parameter.numel() for parameter in added), layers=changed)
