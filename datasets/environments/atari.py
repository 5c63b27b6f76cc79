"""Atari games as a Gymnasium vector environment: lives, scores, stacks and tasks around ale-py's emulators."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from probe.datasets.environments import state as states
from probe.datasets.environments.atari_emulators import Emulators, Rules, VectorEmulators
from probe.datasets.environments.atari_library import AtariSettings, rom_of
from probe.datasets.environments.atari_single import SingleEmulators
from probe.datasets.environments.base import Array, Step, VectorEnvironment
from probe.datasets.environments.human_scores import games_of
from probe.datasets.environments.shift import refuse_game_shifts
from probe.datasets.environments.specification import EnvironmentSpec
from probe.errors import ConfigurationError
from probe.models import validated

_GAME = "game"
"""The one kind of game shift that Atari has."""


class AtariVectorEnvironment(VectorEnvironment):
    """Steps Atari games by decisions.

    With `episodic_life` an episode ends (`terminations`) with a lost life while the game goes on; `episode` in `infos`
    is of whole games, and its return `r` is the game's score, never clipped. A stack begins, after a lost life too,
    with copies of one frame. With `exact_resume` the state can be saved and restored bit for bit; without it a resumed
    run starts new games.
    """

    def __init__(self, specification: EnvironmentSpec, num_envs: int, seed: int, threads: int) -> None:
        """Loads the games.

        Raises:
            UnknownNameError: a game is unknown.
            ConfigurationError: a setting does not fit.
            MissingExtraError: `ale-py` is not installed.
        """
        self._settings = validated(AtariSettings, specification.keywords, specification.id)
        self._games = _games(specification, self._settings)
        self._num_envs, self._threads = num_envs, threads
        self._game = self._game_of(specification.task)
        self._emulators = self._made(specification)
        offered = self._emulators.actions if specification.actions is None else specification.actions
        if offered > self._emulators.actions:
            raise ConfigurationError(
                f"{specification.id} has {self._emulators.actions} actions, `actions` is {offered}."
            )
        side = self._settings.size
        space = Box(0, 255, (side, side, 1 if self._settings.grey else 3), np.uint8)
        super().__init__(specification, num_envs, space, Discrete(offered))
        self._seed, self._begun = seed, False
        self._lives = np.zeros(num_envs, np.int64)

    def _game_of(self, task: int) -> str:
        return self._games[task % len(self._games)]

    def _made(self, specification: EnvironmentSpec) -> Emulators:
        rules = Rules(rom_of(self._game), self._settings, specification.action_repeat, specification.step_limit)
        if self._settings.exact_resume:
            return SingleEmulators(rules, self._num_envs)
        return VectorEmulators(rules, self._num_envs, self._threads)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new games everywhere; with a seed, everything random begins anew from it."""
        if isinstance(seed, list):
            raise TypeError("All games draw from one seed: give an int, not a list.")
        if seed is not None:
            self._seed, self._begun = seed, False
        self._begin()
        return self.current_observations(), {}

    def _begin(self) -> None:
        entropy = [self._seed, self.task if len(self._games) > 1 else 0]
        seeds = None if self._begun else np.random.SeedSequence(entropy).generate_state(self.num_envs) >> 1
        frames, self._lives = self._emulators.reset(None if seeds is None else seeds.astype(np.int64))
        self._begun = True
        self._restart_counters()
        self.frames.push(frames, np.ones(self.num_envs, np.bool_))

    def set_task(self, task: int) -> bool:
        """Changes the task; where it is another game, new games begin at once."""
        super().set_task(task)
        if self._game == self._game_of(task):
            return False
        self._game = self._game_of(task)
        self._emulators.close()
        self._emulators = self._made(self.specification)
        self._begun = False
        self._begin()
        return True

    def step(self, actions: Array) -> Step:
        """Plays one decision; see the class for what ends an episode.

        Args:
            actions: integers (environment,) in the action space.
        """
        actions = np.asarray(actions)
        offered = int(self.single_action_space.n)  # type: ignore[attr-defined]
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() >= offered:
            raise ValueError(f"Actions must be {self.num_envs} integers from 0 to {offered - 1}, got {actions}.")
        played = self._emulators.step(self._meant(actions).astype(np.int64))
        over = played.terminated | played.truncated
        infos = self._count(played.rewards, over)
        lost = (played.lives < self._lives) & (played.lives > 0) & ~over
        self._lives = played.lives
        terminated = played.terminated | lost if self._settings.episodic_life else played.terminated
        ended = terminated | played.truncated
        if ended.any():
            final = np.where(over[:, None, None, None], played.final_frames, played.frames)
            infos["final_obs"], infos["_final_obs"] = self.frames.final(final), ended.copy()
        observations = self.frames.push(played.frames, ended)
        return observations, self._learnt(played.rewards), terminated.copy(), played.truncated.copy(), infos

    def _learnt(self, rewards: NDArray[np.float64]) -> NDArray[np.float32]:
        """Returns the rewards to learn from."""
        clip = self._settings.reward_clip
        clipped = np.clip(rewards, -clip, clip) if clip else rewards
        return (clipped + self.specification.reward_per_step).astype(np.float32)

    def get_state(self) -> bytes | None:
        """Returns games, frames, counters and task as bytes, or None without `exact_resume`."""
        games = self._emulators.get_state()
        if games is None:
            return None
        return states.pack(
            {
                **{f"games.{name}": array for name, array in games.items()},
                "frames": self.frames.frames,
                "lives": self._lives,
                "returns": self.returns,
                "lengths": self.lengths,
                "task": np.array([self.task]),
                "seed": np.array([self._seed]),
                "environment": np.frombuffer(self.specification.id.encode(), np.uint8),
            }
        )

    def set_state(self, state: bytes) -> None:
        """Continues exactly where `get_state` was called, whatever this environment's own seed is.

        Raises:
            ConfigurationError: the state is damaged, or of another game, number of environments or frame stack; or
                without `exact_resume`.
        """
        arrays = states.unpack(state)
        own = self.specification.id if self._settings.exact_resume else f"{self.specification.id} without exact_resume"
        saved = arrays["environment"].tobytes().decode() if "environment" in arrays else "no Atari game"
        shape = arrays["frames"].shape if "frames" in arrays else ()
        if saved != own or shape != self.frames.frames.shape:
            raise ConfigurationError(
                f"The saved environment is {saved} with frames {shape}, this one is {own} with "
                f"{self.frames.frames.shape}. Resume with the settings that the state was saved with."
            )
        self._seed, self._begun = int(arrays["seed"][0]), True
        self.set_task(int(arrays["task"][0]))
        prefix = "games."
        self._emulators.set_state(
            {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        )
        self.frames.frames, self._lives = arrays["frames"], arrays["lives"]
        self.returns, self.lengths = arrays["returns"], arrays["lengths"]

    def close_extras(self, **_kwargs: Any) -> None:
        """Ends the games."""
        self._emulators.close()


def _games(specification: EnvironmentSpec, settings: AtariSettings) -> tuple[str, ...]:
    """Returns the games that the tasks go through, round and round.

    Raises:
        UnknownNameError: a game is unknown.
        ConfigurationError: a shift is not for Atari, or the games have different actions.
    """
    refuse_game_shifts(specification, allowed={_GAME})
    games = games_of(specification)
    for game in games:
        rom_of(game)
    if len(games) > 1 and not settings.full_action_space:
        raise ConfigurationError(
            f"{specification.id}: games have different actions; a 'game' shift needs the 18 that all share. Set "
            "environment.keywords.full_action_space=true."
        )
    return games
