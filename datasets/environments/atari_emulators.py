"""What plays Atari games by decisions, and ale-py's own vector environment as one such."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from probe.datasets.environments.atari_library import AtariSettings

_ENDLESS = 2**31 - 1

Frames = NDArray[np.uint8]
"""(environment, height, width, channel)."""


@dataclass(frozen=True)
class Rules:
    """What a game is played by."""

    rom: str
    settings: AtariSettings
    action_repeat: int
    step_limit: int | None
    """Decisions after which a game is cut off."""

    @property
    def frame_limit(self) -> int:
        """Frames after which a game is cut off."""
        return _ENDLESS if self.step_limit is None else self.step_limit * self.action_repeat


@dataclass(frozen=True)
class Played:
    """What a decision came to; where a game has ended, `frames` and `lives` are those of the next one."""

    frames: Frames
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    lives: NDArray[np.int64]
    final_frames: Frames
    """Of the games that have ended."""


@runtime_checkable
class Emulators(Protocol):
    """Several games at once; one that ends starts anew within the same decision."""

    actions: int
    """How many the game offers."""

    def reset(self, seeds: NDArray[np.int64] | None) -> tuple[Frames, NDArray[np.int64]]:
        """Starts new games, from seeds if there are; returns the first frames and the lives."""

    def step(self, actions: NDArray[np.int64]) -> Played:
        """Plays a decision."""

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """Returns all that the next decisions depend on, or None where that cannot be told."""

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Continues exactly where `get_state` was called."""

    def close(self) -> None:
        """Ends the games."""


class VectorEmulators:
    """ale-py's own vector environment: many games in threads, without a state to save."""

    def __init__(self, rules: Rules, num_envs: int, threads: int) -> None:
        """Makes the games; threads change the speed and nothing else."""
        from ale_py.vector_env import AtariVectorEnv

        settings = rules.settings
        # Lives, stacks and clipped rewards are ours: ale-py starts the whole game anew when a life is lost.
        self._envs = AtariVectorEnv(
            rules.rom,
            num_envs,
            num_threads=max(1, threads),
            max_num_frames_per_episode=rules.frame_limit,
            repeat_action_probability=settings.sticky_actions,
            full_action_space=settings.full_action_space,
            autoreset_mode="SameStep",
            img_height=settings.size,
            img_width=settings.size,
            grayscale=settings.grey,
            stack_num=1,
            frameskip=rules.action_repeat,
            maxpool=settings.max_pool,
            noop_max=settings.noop_max,
            reward_clipping=False,
            use_fire_reset=settings.fire_reset,
        )
        self._shape = (num_envs, settings.size, settings.size, 1 if settings.grey else 3)
        space: Any = self._envs.single_action_space
        self.actions = int(space.n)

    def reset(self, seeds: NDArray[np.int64] | None) -> tuple[Frames, NDArray[np.int64]]:
        """Starts new games."""
        frames, infos = self._envs.reset(seed=seeds)
        return frames.reshape(self._shape), infos["lives"].astype(np.int64)

    def step(self, actions: NDArray[np.int64]) -> Played:
        """Plays a decision."""
        frames, rewards, terminated, truncated, infos = self._envs.step(actions)
        final = infos.get("final_obs", frames)
        return Played(
            frames.reshape(self._shape),
            rewards.astype(np.float64),
            terminated,
            truncated,
            infos["lives"].astype(np.int64),
            final.reshape(self._shape),
        )

    def get_state(self) -> None:
        """Returns None: ale-py's vector environment has no state to save."""
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Is never called, since there is no state."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the games."""
        self._envs.close()
