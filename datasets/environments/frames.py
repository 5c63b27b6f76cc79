"""From an environment's frames to what the agent sees: frame stack and task shift."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from probe.datasets.environments.shift import permutation_of
from probe.datasets.environments.specification import EnvironmentSpec

Array = NDArray[Any]
"""Frames or observations: (environment, height, width, channel) or (environment, feature)."""


class FramePipeline:
    """Keeps the last frames of every environment and shows them as the current task does."""

    def __init__(self, specification: EnvironmentSpec, frame_space: Box, num_envs: int) -> None:
        """Starts with frames of zeros.

        Raises:
            ConfigurationError: the shift does not fit the frames.
        """
        self._stack = specification.frame_stack
        self._shift = specification.shift
        self._frame_shape: tuple[int, ...] = frame_space.shape
        *rest, last = frame_space.shape
        low, high = (np.concatenate([bound] * self._stack, axis=-1) for bound in (frame_space.low, frame_space.high))
        self.space = Box(low, high, (*rest, last * self._stack), frame_space.dtype.type)
        self.frames: Array = np.zeros((num_envs, *self.space.shape), self.space.dtype)
        """The stacked frames before the shift."""
        self.set_task(specification.task)

    def set_task(self, task: int) -> None:
        """Shows everything from now on, the frames kept so far too, as `task` does."""
        self.task = task
        self._permutation = permutation_of(self._shift, task, self._frame_shape)

    def push(self, frames: Array, started: NDArray[np.bool_]) -> Array:
        """Takes the next frame of every environment and returns the observations.

        Args:
            frames: one frame per environment; not written to and not kept where a stack is made of them.
            started: environments whose frame is the first of an episode.
        """
        last = self._frame_shape[-1]
        if self._stack == 1:
            self.frames = frames
        else:
            self.frames = np.concatenate((self.frames[..., last:], frames), axis=-1)
            self.frames[started] = np.tile(frames[started], self._stack)
        return self.observations()

    def final(self, frames: Array) -> Array:
        """Returns the observations that `frames` would give, and keeps nothing of them."""
        if self._stack > 1:
            frames = np.concatenate((self.frames[..., self._frame_shape[-1] :], frames), axis=-1)
        return self._shown(frames)

    def observations(self) -> Array:
        """Returns a copy of the current observations."""
        return self._shown(self.frames)

    def _shown(self, frames: Array) -> Array:
        return frames.copy() if self._permutation is None else self._permutation(frames)
