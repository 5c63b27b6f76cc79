"""Atari games played one by one, by emulators whose state can be saved."""

import json
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from probe.arrays import NDArray
from probe.datasets.environments import state as states
from probe.datasets.environments.atari_emulators import Frames, Played, Rules

_FIRE = 1
"""ALE's number of the action."""


def area_shares(source: int, target: int) -> Float32[NDArray[np.float32], "target source"]:
    """Returns how much each of `source` pixels in a line counts in each of `target` wider ones; rows sum to 1."""
    width = source / target
    ends = np.arange(1, target + 1)[:, None] * width
    starts = np.arange(source)
    shared = np.minimum(ends, starts + 1) - np.maximum(ends - width, starts)
    shares: NDArray[np.float32] = (np.clip(shared, 0, None) / width).astype(np.float32)
    return shares


class SingleEmulators:
    """Games played one after another by ale-py's emulator, whose whole state can be saved."""

    def __init__(self, rules: Rules, num_envs: int) -> None:
        """Loads the games; `reset` or `set_state` begins them."""
        from ale_py import ALEInterface, LoggerMode

        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.rules = rules
        self._games = [ALEInterface() for _ in range(num_envs)]
        for game in self._games:
            game.setFloat("repeat_action_probability", rules.settings.sticky_actions)
            self._load(game, seed=0)
        full = rules.settings.full_action_space
        self._meant = self._games[0].getLegalActionSet() if full else self._games[0].getMinimalActionSet()
        self.actions = len(self._meant)
        height, width = self._games[0].getScreenDims()
        self._rows, self._columns = (area_shares(side, rules.settings.size) for side in (height, width))
        channels = () if rules.settings.grey else (3,)
        self._screens = np.zeros((2, height, width, *channels), np.uint8)
        self._rng = np.random.default_rng(0)
        self._elapsed = np.zeros(num_envs, np.int64)

    def _load(self, game: Any, seed: int) -> None:
        from ale_py import roms

        game.setInt("random_seed", seed)
        game.loadROM(roms.get_rom_path(self.rules.rom))

    def reset(self, seeds: NDArray[np.int64] | None) -> tuple[Frames, NDArray[np.int64]]:
        """Starts new games."""
        if seeds is not None:
            for game, seed in zip(self._games, seeds.tolist(), strict=True):
                self._load(game, seed)
            self._rng = np.random.default_rng(seeds)
        frames = np.stack([self._begin(index) for index in range(len(self._games))])
        return frames, self._lives()

    def step(self, actions: NDArray[np.int64]) -> Played:
        """Plays a decision."""
        rewards = np.zeros(len(self._games))
        finals = []
        for index, action in enumerate(actions.tolist()):
            rewards[index], frame = self._play(index, self._meant[action])
            finals.append(frame)
        terminated = np.array([game.game_over() for game in self._games])
        truncated = (self._elapsed >= self.rules.frame_limit) & ~terminated
        frames = list(finals)
        for index in np.flatnonzero(terminated | truncated).tolist():
            frames[index] = self._begin(index)
        return Played(np.stack(frames), rewards, terminated, truncated, self._lives(), np.stack(finals))

    def _begin(self, index: int) -> Frames:
        """Starts a new game and returns its first frame."""
        game, settings = self._games[index], self.rules.settings
        game.reset_game()
        idle = int(self._rng.integers(max(1, settings.noop_max)))
        if settings.fire_reset and any(action.value == _FIRE for action in self._meant):
            game.act(_FIRE)
            idle -= 1
        for _ in range(idle):
            game.act(0)
            if game.game_over():
                game.reset_game()
        self._elapsed[index] = 0
        self._read(game, 0)
        return self._reduced(self._screens[0])

    def _play(self, index: int, action: Any) -> tuple[float, Frames]:
        """Plays the frames of a decision, until the game ends; returns the sum of rewards and the frame to show."""
        game, repeat = self._games[index], self.rules.action_repeat
        reward, shown = 0.0, 0
        for frame in range(repeat):
            reward += game.act(action)
            self._elapsed[index] += 1
            over = game.game_over() or self._elapsed[index] >= self.rules.frame_limit
            if over or frame >= repeat - 2:
                self._read(game, shown % 2)
                shown += 1
            if over:
                break
        pooled = self.rules.settings.max_pool and shown > 1
        return reward, self._reduced(self._screens.max(axis=0) if pooled else self._screens[(shown - 1) % 2])

    def _read(self, game: Any, place: int) -> None:
        (game.getScreenGrayscale if self.rules.settings.grey else game.getScreenRGB)(self._screens[place])

    def _reduced(self, screen: UInt8[NDArray[np.uint8], "height width ..."]) -> Frames:
        """Returns the screen in the size of a frame, each pixel the mean over its area."""
        channels = np.atleast_3d(screen).astype(np.float32).transpose(2, 0, 1)
        means = self._rows @ channels @ self._columns.T
        frame: Frames = np.rint(means).astype(np.uint8).transpose(1, 2, 0)
        return frame

    def _lives(self) -> NDArray[np.int64]:
        return np.array([game.lives() for game in self._games], np.int64)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Returns the emulators' states, some 15 kB each, and the random numbers to come."""
        saved = states.join([bytes(game.cloneSystemState().__getstate__()) for game in self._games])
        order = np.frombuffer(json.dumps(self._rng.bit_generator.state).encode(), np.uint8)
        return {**saved, "order": order, "elapsed": self._elapsed.copy()}

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Continues exactly where `get_state` was called."""
        from ale_py import ALEState

        for game, saved in zip(self._games, states.split(state), strict=True):
            game.restoreSystemState(ALEState(saved))
        self._rng.bit_generator.state = json.loads(state["order"].tobytes())
        self._elapsed = state["elapsed"]

    def close(self) -> None:
        """Ends the games."""
        self._games.clear()
