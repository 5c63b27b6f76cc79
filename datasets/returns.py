"""Discounted returns, computed over every decision and kept for those that are stored."""

import numpy as np

from probe.arrays import NDArray
from probe.returns import discounted


class ReturnTracker:
    """Collects the rewards of running episodes, and which of their decisions were stored as which rows."""

    def __init__(self, num_envs: int, gamma: float) -> None:
        """Starts with no decisions; `gamma` is the discount per decision."""
        self._gamma = gamma
        self._rewards: list[list[float]] = [[] for _ in range(num_envs)]
        self._stored: list[list[tuple[int, int]]] = [[] for _ in range(num_envs)]

    def store(self, environments: NDArray[np.int64], rows: range) -> None:
        """Notes that the coming decision of each of `environments` is stored, in these rows."""
        for environment, row in zip(environments.tolist(), rows, strict=True):
            self._stored[environment].append((len(self._rewards[environment]), row))

    def add(self, rewards: NDArray[np.float32]) -> None:
        """Adds the reward of one decision of every environment."""
        for history, reward in zip(self._rewards, rewards.tolist(), strict=True):
            history.append(reward)

    def end(self, environment: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Ends an environment's episode; returns the rows stored in it and their returns."""
        stored = np.array(self._stored[environment], np.int64).reshape(-1, 2)
        returns = discounted(np.array(self._rewards[environment]), self._gamma)
        self._rewards[environment], self._stored[environment] = [], []
        return stored[:, 1], returns[stored[:, 0]]
