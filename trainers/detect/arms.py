"""What is done to an agent at the fork, one way in each arm."""

import torch

from probe.networks import build
from probe.networks.branches import copy_values
from probe.trainers.detect.design import CONTROL, FRESH, HEAD_RESET, INJECTED, Design
from probe.trainers.detect.fork import Agent
from probe.trainers.injecting import branch_parameters, inject_agent
from probe.trainers.moments import reset_moments


def begin(arm: str, agent: Agent, design: Design, rng: torch.Generator) -> None:
    """Makes an agent at the fork that of an arm; control changes nothing.

    Args:
        arm: Which.
        agent: Changed in place.
        design: Says where the head begins.
        rng: Draws the new parameters: the same in all arms of a pair.
    """
    if arm == CONTROL:
        return
    cut, fresh = design.placement.cut, build(agent.network.spec, rng)
    if arm == INJECTED:
        inject_agent(agent, agent.optimizer, cut, fresh, design.settings.head_moments)
        return
    head = branch_parameters(agent.network, cut)
    if arm == HEAD_RESET:
        copy_values(fresh.branch(cut), agent.network.branch(cut))
    if arm == FRESH:
        agent.network.load_state_dict(fresh.state_dict())
    reset_moments(agent.optimizer, agent.network.parameters() if arm == FRESH else head)
    if arm in (HEAD_RESET, FRESH):
        agent.synchronise()
