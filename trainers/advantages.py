"""Generalised advantage estimation."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def generalised_advantages(
    rewards: Float[Tensor, "time environment"],
    values: Float[Tensor, "time environment"],
    ended: Bool[Tensor, "time environment"],
    final_values: Float[Tensor, "time environment"],
    last_values: Float[Tensor, "environment"],
    gamma: float,
    gae_lambda: float,
) -> Float[Tensor, "time environment"]:
    """Returns sum_k (gamma lambda)^k delta_{t+k} within each episode, delta_t = r_t + gamma V(s_{t+1}) - V(s_t).

    Args:
        rewards: of each decision.
        values: V(s_t), estimated when the decision was made.
        ended: whether the episode ended with the decision.
        final_values: where an episode was cut off by a time limit, V of its last observation; 0 elsewhere.
        last_values: V of the observations after the last decision.
        gamma: discount per decision.
        gae_lambda: 0 gives the one-step error, 1 the discounted return less the value.

    Source: Schulman et al. 2016, arXiv:1506.02438, equation 16.
    """
    going = (~ended).float()
    following = torch.cat((values[1:], last_values.unsqueeze(0)))
    deltas = rewards + gamma * (following * going + final_values) - values
    decay = gamma * gae_lambda * going
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(last_values)
    for time in reversed(range(len(deltas))):
        running = torch.addcmul(deltas[time], decay[time], running, out=advantages[time])
    return advantages
