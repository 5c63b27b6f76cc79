"""What every environment of ours offers beyond Gymnasium's `VectorEnv`."""

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from probe.datasets.environments.frames import FramePipeline
from probe.datasets.environments.shift import action_order_of
from probe.datasets.environments.specification import EnvironmentSpec

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Step = tuple[Array, Array, Mask, Mask, dict[str, Any]]


class VectorEnvironment(VectorEnv[Array, Array, Array]):
    """Environments stepped together; one that ends starts its next episode within the same step.

    Observations are uint8 (environment, height, width, channel) or float32 (environment, feature). `infos` hold, where
    an episode ended, `episode` with its return `r` (of the rewards as given out, or an Atari game's score) and its
    decisions `l`, and the mask `_episode`; `level_seed` where levels exist; `final_obs` and its mask `_final_obs` where
    the last observation of an ended episode exists.
    """

    labels: NDArray[np.int64] | None = None
    """The right action on each current observation, where an environment can tell."""

    def __init__(
        self, specification: EnvironmentSpec, num_envs: int, frame_space: Box, action_space: Space[Any]
    ) -> None:
        """Prepares spaces, frames and counters; a child fills in how frames come about."""
        self.specification = specification
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.frames = FramePipeline(specification, frame_space, num_envs)
        self.single_observation_space = self.frames.space
        self.observation_space = batch_space(self.frames.space, num_envs)
        self.single_action_space = action_space
        self.action_space = batch_space(action_space, num_envs)
        self._action_order = action_order_of(specification.shift, specification.task, action_space)
        self.returns = np.zeros(num_envs, np.float64)
        self.lengths = np.zeros(num_envs, np.int64)

    @abstractmethod
    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new episodes everywhere; without a seed, the first time from the one given to `make`."""

    @abstractmethod
    def step(self, actions: Array) -> Step:
        """Plays one decision in every environment; see the class for `infos`."""

    @abstractmethod
    def get_state(self) -> bytes | None:
        """Returns everything that the next steps depend on, or None where an environment cannot tell."""

    @abstractmethod
    def set_state(self, state: bytes) -> None:
        """Continues exactly where `get_state` was called, whatever this environment's own seed is.

        Raises:
            ConfigurationError: the state is damaged, or of another environment.
        """

    @property
    def task(self) -> int:
        """Index of the current task."""
        return self.frames.task

    def set_task(self, task: int) -> bool:
        """Changes the task: from the next decision on, and in `current_observations` at once.

        What a task is follows from the specification, this environment's seed and `task` alone.

        Returns:
            Whether new episodes have begun, as other games or levels need. Those that were being played are cut off:
            they are in no statistics.
        """
        self.frames.set_task(task)
        self._action_order = action_order_of(self.specification.shift, task, self.single_action_space)
        return False

    def current_observations(self) -> Array:
        """Returns the observations that the next decision is made on."""
        return self.frames.observations()

    def _meant(self, actions: Array) -> Array:
        """Returns the actions that the agent's numbers stand for in the current task."""
        if self._action_order is None:
            return actions
        first = int(self.single_action_space.start)  # type: ignore[attr-defined]
        meant: Array = self._action_order[actions - first]
        return meant

    def _restart_counters(self) -> None:
        self.returns[:] = 0
        self.lengths[:] = 0

    def _count(self, rewards: Array, ended: Mask) -> dict[str, Any]:
        """Adds a decision to the episode statistics and returns those of the episodes that ended with it."""
        self.returns += rewards
        self.lengths += 1
        if not ended.any():
            return {}
        statistics = {
            "r": np.where(ended, self.returns, 0).astype(np.float32),
            "l": np.where(ended, self.lengths, 0).astype(np.int32),
        }
        self.returns[ended] = 0
        self.lengths[ended] = 0
        return {"episode": statistics, "_episode": ended.copy()}
