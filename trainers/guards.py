"""Guards of PPO: numbers that would blow up are held, and what was held is counted and told."""

from math import log

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probe.trainers.base import Metrics
from probe.trainers.settings import GuardSettings

HELD, UNNORMALISED = "guard/held_ratios", "guard/unnormalised_minibatches"
"""Share of the decisions whose ratio was held, over all passes, and of the minibatches that were not normalised."""


def is_beyond(log_ratio: Float[Tensor, "batch"], guards: GuardSettings) -> Bool[Tensor, "batch"]:
    """Returns which decisions' ratio is not learnt from as it is; never where it is NaN, which ends the run."""
    return log_ratio.abs() > guards.log_ratio


def held(log_ratio: Float[Tensor, "batch"], guards: GuardSettings) -> Float[Tensor, "batch"]:
    """Returns the logarithms of the ratios to learn from; what is held has no gradient, all else is as it was."""
    low, high = guards.ratio
    return torch.where(is_beyond(log_ratio, guards), log_ratio.clamp(log(low), log(high)), log_ratio)


def are_even(advantages: Float[Tensor, "batch"], guards: GuardSettings) -> bool:
    """Whether a minibatch's advantages differ so little that normalising would blow up their noise."""
    return advantages.std().item() < guards.least_deviation


class Warnings:
    """Tells of each guard when it first acts."""

    def __init__(self, guards: GuardSettings) -> None:
        """Has told nothing yet."""
        self._guards = guards
        self._told: set[str] = set()

    def of(self, metrics: Metrics, step: int) -> list[str]:
        """Returns what is to be told of an update that began at a step."""
        low, high = self._guards.ratio
        what = {
            HELD: f"of its decisions had a probability ratio beyond e^+-{self._guards.log_ratio:g} and were learnt "
            f"from with {low:g} or {high:g}: the policy moves too far in an update",
            UNNORMALISED: f"of its minibatches had advantages with a standard deviation below "
            f"{self._guards.least_deviation:g} and were not normalised: nothing told the decisions apart",
        }
        acted = {name: share for name in what if (share := metrics[name]) and name not in self._told}
        self._told |= acted.keys()
        return [
            f"In the update from step {step:,} on, {share:.2%} {what[name]}. Further ones are counted in metrics.csv, "
            f"{name}."
            for name, share in acted.items()
        ]
