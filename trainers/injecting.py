"""Injecting an agent: its network, the copies of it, and the optimiser's moments."""

from typing import Literal

import torch
from torch import nn

from probe.networks import Network
from probe.trainers.base import Trainer
from probe.trainers.moments import adopt_parameters, reset_moments

HeadMoments = Literal["fresh", "copy"]
"""Whether theta1' begins without moments, or with those of the parameters that it replaces."""


def branch_parameters(network: Network, cut: str) -> list[nn.Parameter]:
    """Returns the parameters that learn and run from a cut on."""
    stages = [stage for listed in network.branch(cut).values() for stage in listed]
    return [parameter for stage in stages for parameter in stage.parameters()]


def inject_agent(
    agent: Trainer,
    optimizer: torch.optim.Optimizer,
    cut: str,
    fresh: Network,
    head_moments: HeadMoments,
    all_learn: bool = False,
) -> list[nn.Parameter]:
    """Injects the network and every copy of it with the same new parameters; returns those that learn from the cut on.

    Args:
        agent: Changed in place; its outputs stay as they are.
        optimizer: What holds the moments.
        cut: Path of a stage.
        fresh: A newly drawn network of the same specification.
        head_moments: What the new copy's moments are.
        all_learn: Whether nothing is frozen.
    """
    for network in (agent.network, *agent.copies):
        network.inject(cut, fresh, agent.step, all_learn)
    for copied in agent.copies:
        copied.requires_grad_(False)
    learning = branch_parameters(agent.network, cut)
    if all_learn:
        adopt_parameters(optimizer, agent.network)
    if head_moments == "fresh":
        reset_moments(optimizer, learning)
    return learning
