"""Scaling rewards by the running spread of the discounted return."""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from probe.arrays import NDArray

_EPSILON = 1e-8


class RewardNormaliser:
    """Divides rewards by the standard deviation of the discounted returns seen so far, and clips them.

    Source: the reward scaling of OpenAI Baselines' VecNormalize, which CleanRL takes from Gym: mean and variance are
    merged batch by batch (Chan et al.), starting from variance 1 with a weight of 1e-4.
    """

    def __init__(self, environments: int, gamma: float, normalise: bool, clip: float | None) -> None:
        """Starts with no return seen; without `normalise`, rewards are clipped only."""
        self.gamma, self.normalise, self.clip = gamma, normalise, clip
        self.returns = np.zeros(environments)
        self.mean, self.variance, self.count = 0.0, 1.0, 1e-4

    def __call__(
        self, rewards: Float32[NDArray[np.float32], "environment"], ended: NDArray[np.bool_]
    ) -> Float32[NDArray[np.float32], "environment"]:
        """Takes a decision's rewards into the statistics and returns what to learn from."""
        if self.normalise:
            self.returns = self.returns * self.gamma + rewards
            self._merge(self.returns)
            self.returns[ended] = 0
        scaled: NDArray[np.float32] = (rewards / self.scale).astype(np.float32)
        return scaled if self.clip is None else np.clip(scaled, -self.clip, self.clip)

    @property
    def scale(self) -> float:
        """What rewards are divided by now."""
        return float(np.sqrt(self.variance + _EPSILON)) if self.normalise else 1.0

    def restart(self) -> None:
        """Forgets the episodes that were being played, where new ones begin; the statistics stay."""
        self.returns[:] = 0

    def _merge(self, returns: NDArray[np.float64]) -> None:
        size, total = len(returns), self.count + len(returns)
        difference = float(returns.mean()) - self.mean
        squares = self.variance * self.count + float(returns.var()) * size + difference**2 * self.count * size / total
        self.mean += difference * size / total
        self.variance, self.count = squares / total, total

    def get_state(self) -> dict[str, Tensor]:
        """Returns the statistics."""
        return {
            "returns": torch.from_numpy(self.returns.copy()),
            "moments": torch.tensor([self.mean, self.variance, self.count], dtype=torch.float64),
        }

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continues where `get_state` was called."""
        self.returns = state["returns"].numpy().copy()
        self.mean, self.variance, self.count = state["moments"].tolist()
