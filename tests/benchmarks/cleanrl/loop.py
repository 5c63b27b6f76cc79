"""CleanRL's ppo_procgen.py, run as it lies in a checkout: the whole file, every line of it, and nothing is copied.

What its imports find that its own environment would not have given them:

- `tyro`: `cli` returns `Args` with the settings that are given, in place of the command line's.
- `gym` is 0.26, whose steps have five parts; the file was written for 0.23, whose steps have four. The games and the
  outermost wrapper translate between the two. The wrappers between them, which scale rewards, are Gym's own.
- `procgen`: `ProcgenEnv` starts from the run's seed; by itself it takes one from the operating system.

PyTorch, NumPy, Procgen and TensorBoard, whose logs go to a temporary folder, are those of this environment.
"""

import io
import json
import os
import runpy
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from unittest.mock import patch

import gym
import numpy as np
import procgen
from numpy.typing import NDArray

from probe.memory import keep_freed_memory

FILE = Path("cleanrl", "ppo_procgen.py")
_END_OF_UPDATE = "SPS:"
"""What the file prints when an update has ended."""


@dataclass
class Played:
    """What a run of the file left behind."""

    variables: dict[str, Any] = field(default_factory=dict)
    """The file's own, at its end."""
    rewards: list[NDArray[np.float32]] = field(default_factory=list)
    """Of every decision, as Procgen gave them: (environment,) each."""
    ended: list[NDArray[np.bool_]] = field(default_factory=list)
    episodes: list[tuple[int, float]] = field(default_factory=list)
    """Decisions so far, summed over the environments, and return, of each episode when it ended."""
    update_ends: list[float] = field(default_factory=list)
    """When each update ended, in seconds."""


class _Games:
    """Procgen's games, whose steps have four parts, with steps of five."""

    def __init__(self, games: Any, played: Played) -> None:
        self.games, self.played = games, played

    def __getattr__(self, name: str) -> Any:
        return getattr(self.games, name)

    def reset(self) -> tuple[Any, dict[str, Any]]:
        return self.games.reset(), {}

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        observations, rewards, ended, _ = self.games.step(actions)
        self.played.rewards.append(rewards.copy())
        self.played.ended.append(ended.copy())
        return observations, rewards, ended, np.zeros_like(ended), {}


class _Outermost(gym.wrappers.TransformReward):
    """The last wrapper of steps of five parts, with steps of four."""

    def reset(self) -> Any:
        return super().reset()[0]

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        episodes: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(infos.get("_episode", ())):
            episodes[index]["episode"] = {key: infos["episode"][key][index] for key in ("r", "l")}
            self.played.episodes.append((len(self.played.rewards) * self.num_envs, float(infos["episode"]["r"][index])))
        return observations, rewards, np.logical_or(terminated, truncated), episodes


class _Listener(io.TextIOBase):
    """Takes what the file prints, and the time of each update's end from it."""

    def __init__(self, played: Played) -> None:
        self.played = played

    def write(self, text: str) -> int:
        if text == _END_OF_UPDATE:
            self.played.update_ends.append(time.perf_counter())
        return len(text)


def play(checkout: Path, settings: Mapping[str, Any]) -> Played:
    """Runs the file from its first line to its last.

    Args:
        checkout: of github.com/vwxyzjn/cleanrl.
        settings: of the file's `Args`; `seed` among them.
    """
    played = Played()
    file = (checkout / FILE).resolve()
    tyro = ModuleType("tyro")
    tyro.cli = lambda kind: kind(**settings)  # type: ignore[attr-defined]
    make = procgen.ProcgenEnv

    def games(num_envs: int, env_name: str, **keywords: Any) -> _Games:
        return _Games(make(num_envs, env_name, rand_seed=settings["seed"], **keywords), played)

    with (
        _in_a_temporary_folder(),
        _importable(tyro),
        patch.object(procgen, "ProcgenEnv", games),
        patch.object(gym.wrappers, "TransformReward", _Outermost),
        redirect_stdout(_Listener(played)),
    ):
        played.variables = runpy.run_path(str(file), run_name="__main__")
    return played


@contextmanager
def _in_a_temporary_folder() -> Iterator[None]:
    before = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@contextmanager
def _importable(module: ModuleType) -> Iterator[None]:
    # Not `patch.dict`: it would also take away what is imported for the first time meanwhile.
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


def main() -> None:
    """Plays as the arguments say and prints what `play_in_a_process` returns."""
    checkout, settings, allocator = sys.argv[1:]
    if allocator == "kept":
        keep_freed_memory()
    played = play(Path(checkout), json.loads(settings))
    print(json.dumps({"episodes": played.episodes, "update_ends": played.update_ends}))
