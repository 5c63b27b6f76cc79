"""Which game is this frame from? Real frames of Procgen as a problem of 16 classes, or of random ones."""

import json
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box, Discrete
from jaxtyping import Int64
from pydantic import Field

from probe.arrays import NDArray
from probe.datasets.environments import state as states
from probe.datasets.environments.base import Array, Step, VectorEnvironment
from probe.datasets.environments.procgen_library import GAMES
from probe.datasets.environments.rendered import SIDE, pictures
from probe.datasets.environments.shift import refuse_game_shifts
from probe.datasets.environments.specification import EnvironmentSpec
from probe.errors import ConfigurationError
from probe.models import FrozenModel, validated

NAME = "frames:procgen"


class FrameSettings(FrozenModel):
    """Keywords of the environment."""

    side: int = Field(default=16, ge=1)
    """Height and width of a picture, in pixels; divides 64."""
    frames: int = Field(default=500, ge=1)
    """Pictures of each game."""
    start_level: int = Field(default=0, ge=0)
    num_levels: int = Field(default=200, ge=0)
    """Levels that the pictures are from; 0 for all."""
    distribution_mode: Literal["easy", "hard"] = "easy"
    labels: Literal["games", "redrawn"] = "games"
    """What a picture's class is: its game, or, with `redrawn`, a random one in each task, which can only be learnt by
    heart. Every class keeps as many pictures as a game has."""


class GameFrames(VectorEnvironment):
    """Shows grey pictures of the 16 games in random order; the action names the class of each.

    A picture's class is the place of its game in the alphabet, unless the keyword `labels` says otherwise. Each
    decision is an episode, its reward 1 for the right class and 0 for another, and `labels` tells the right ones.
    With a `permute-blocks` shift whose `grid` is the pictures' side, every task orders the pixels anew, as permuted
    MNIST does. Pictures follow from the keywords alone, redrawn labels from the shift's seed and the task, and the
    order of the pictures from the seed.
    """

    def __init__(self, specification: EnvironmentSpec, num_envs: int, seed: int) -> None:
        """Renders the pictures, or takes those that were rendered before with the same keywords.

        Raises:
            ConfigurationError: a setting does not fit.
            MissingExtraError: `procgen` is not installed.
        """
        settings = validated(FrameSettings, specification.keywords, NAME)
        _check(specification, settings)
        side = settings.side
        self._pictures, self._games = pictures(
            settings.frames, side, settings.start_level, settings.num_levels, settings.distribution_mode
        )
        super().__init__(specification, num_envs, Box(0, 255, (side, side, 1), np.uint8), Discrete(len(GAMES)))
        self._redrawn = settings.labels == "redrawn"
        self._classes = self._classes_of(specification.task)
        self._rng = np.random.default_rng(seed)
        self._draw()

    def _classes_of(self, task: int) -> Int64[NDArray[np.int64], " picture"]:
        if not self._redrawn:
            return self._games
        shift = self.specification.shift
        # The third number keeps the draw apart from that of the pixels' order.
        return np.random.default_rng([shift.seed if shift else 0, task, 2]).permutation(self._games)

    def _draw(self) -> Array:
        self._shown = self._rng.integers(len(self._pictures), size=self.num_envs)
        return self._show()

    def _show(self) -> Array:
        self.labels = self._classes[self._shown]
        return self.frames.push(self._pictures[self._shown], np.ones(self.num_envs, np.bool_))

    def set_task(self, task: int) -> bool:
        """Changes the task, and the labels with it; see `VectorEnvironment`."""
        new_episodes = super().set_task(task)
        self._classes = self._classes_of(task)
        self.labels = self._classes[self._shown]
        return new_episodes

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Draws new pictures; with a seed, their order begins anew from it."""
        if isinstance(seed, list):
            raise TypeError(f"{NAME} draws all pictures from one seed: give an int, not a list.")
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        return self._draw(), {}

    def step(self, actions: Array) -> Step:
        """Rewards the right guesses and draws the next pictures.

        Args:
            actions: classes (environment,) from 0 to 15.
        """
        rewards = (actions == self.labels).astype(np.float32)
        ended = np.ones(self.num_envs, np.bool_)
        infos = self._count(rewards, ended)
        return self._draw(), rewards, ended, np.zeros_like(ended), infos

    def get_state(self) -> bytes:
        """Returns the order still to come, what is shown and the task as bytes."""
        order = np.frombuffer(json.dumps(self._rng.bit_generator.state).encode(), np.uint8)
        return states.pack({"order": order, "shown": self._shown, "task": np.array([self.task])})

    def set_state(self, state: bytes) -> None:
        """Continues exactly where `get_state` was called.

        Raises:
            ConfigurationError: the state is damaged, or of another environment.
        """
        arrays = states.unpack(state)
        if arrays.keys() != {"order", "shown", "task"} or arrays["shown"].shape != (self.num_envs,):
            raise ConfigurationError(
                f"The saved environment is not {NAME} with {self.num_envs} pictures at once. Resume with the settings "
                "that the state was saved with."
            )
        self._rng.bit_generator.state = json.loads(arrays["order"].tobytes())
        self._shown = arrays["shown"]
        self.set_task(int(arrays["task"][0]))
        self._show()


def _check(specification: EnvironmentSpec, settings: FrameSettings) -> None:
    refuse_game_shifts(specification)
    if specification.shift is not None and "permute-actions" in specification.shift.kinds:
        raise ConfigurationError(
            f"{NAME}: the action is the picture's class, and 'permute-actions' would make every label wrong. Choose "
            "shift.kind=permute-blocks."
        )
    if SIDE % settings.side:
        raise ConfigurationError(f"{NAME}: 'side' is {settings.side}, expected a divisor of {SIDE}.")
    changed = {
        name
        for name in ("frame_stack", "action_repeat", "reward_per_step", "step_limit", "actions")
        if getattr(specification, name) != EnvironmentSpec.model_fields[name].default
    }
    if changed:
        raise ConfigurationError(
            f"{NAME}: pictures do not follow one another; {', '.join(sorted(changed))} has no meaning. Leave it out."
        )
