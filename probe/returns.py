"""Discounted returns of an episode."""

import numpy as np
from jaxtyping import Float

from probe.arrays import NDArray


def discounted(rewards: Float[NDArray[np.float64], "step"], gamma: float) -> Float[NDArray[np.float64], "step"]:
    """Returns G_t = r_t + gamma * G_{t+1} for one whole episode, with nothing after its end."""
    returns = np.empty(len(rewards))
    following = 0.0
    for step in range(len(rewards) - 1, -1, -1):
        following = rewards[step] + gamma * following
        returns[step] = following
    return returns
