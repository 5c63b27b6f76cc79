"""Playing an environment and keeping every so many-th observation, with what it takes to say where it came from."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.checkpoints import Checkpoint
from probe.datasets.actors import Actor, checkpoint_actor, random_actor
from probe.datasets.environments import EnvironmentSpec, VectorEnvironment, make
from probe.datasets.returns import ReturnTracker
from probe.datasets.sampling import Sampling
from probe.datasets.store import ObservationWriter, refuse_existing, write_observations

Array = NDArray[Any]
_REPORT_EVERY = 64
"""Decisions between two reports of progress."""


@dataclass(frozen=True)
class Collected:
    """What a collection gave."""

    path: Path
    samples: int
    episodes: int
    """Episodes that the samples come from."""
    kind: str
    digest: str
    """SHA-256 of the observations."""
    bytes: int
    """Size of the file."""


def collect(
    specification: EnvironmentSpec,
    out: Path,
    sampling: Sampling,
    policy: Checkpoint | None = None,
    advance: Callable[[int], object] = lambda frames: None,
) -> Collected:
    """Plays an environment and writes an observation set, whole or not at all.

    Args:
        specification: the environment.
        out: the HDF5 file to write; must not exist.
        sampling: how many observations, and which.
        policy: the checkpoint that acts; without one actions are random.
        advance: told the number of environment frames played, now and then.

    Raises:
        FileError: `out` exists or cannot be written.
        ProbeError: the environment cannot be made, or the checkpoint does not fit it.
    """
    refuse_existing(out)
    environment = make(specification, sampling.num_envs, sampling.seed, sampling.threads)
    try:
        if policy is None:
            actor = random_actor(environment, sampling.seed)
        else:
            actor = checkpoint_actor(environment, policy, sampling.seed)
        episodes = _play_into(environment, actor, out, sampling, advance)
    finally:
        environment.close()
    return _summary(out, episodes, actor)


def _play_into(
    environment: VectorEnvironment, actor: Actor, out: Path, sampling: Sampling, advance: Callable[[int], object]
) -> int:
    play = _Play(environment, actor, sampling)
    attributes = _attributes(environment.specification, actor, sampling)
    with write_observations(out, sampling.samples, play.observations[0], play.example(), attributes) as writer:
        frames = 0
        while writer.left:
            frames += play.decide(writer)
            if play.decisions % _REPORT_EVERY == 0 or not writer.left:
                advance(frames)
                frames = 0
    return play.stored_episodes


class _Play:
    """The environments between two decisions: observations, episode numbers and rewards so far."""

    def __init__(self, environment: VectorEnvironment, actor: Actor, sampling: Sampling) -> None:
        self.environment, self.actor, self.stride = environment, actor, sampling.stride
        count = environment.num_envs
        self.observations, infos = environment.reset()
        self.levels: Array | None = infos.get("level_seed")
        self.starts = np.ones(count, np.bool_)
        self.episodes = np.arange(count)
        self.returns = ReturnTracker(count, sampling.gamma)
        self.stored_episodes = 0
        self._stored = np.zeros(count, np.bool_)
        self._next_episode = count
        self._frames = count * environment.specification.action_repeat
        self._due = [np.flatnonzero(sampling.turns == turn) for turn in range(sampling.stride)]
        self.decisions = 0

    def example(self) -> dict[str, Array]:
        """Returns one row of every column beside `returns`."""
        space = self.environment.single_action_space
        discrete = space.dtype is None or space.dtype.kind in "iu"
        actions = np.zeros((1, *(space.shape or ())), np.int64 if discrete else np.float32)
        return self._columns(np.arange(1), actions, np.zeros(1, np.float32))

    def decide(self, writer: ObservationWriter) -> int:
        """Plays one decision everywhere and appends those that are due; returns the frames played."""
        due = self._due[self.decisions % self.stride][: writer.left]
        self.decisions += 1
        actions = self.actor.act(self.observations)
        observations, rewards, terminated, truncated, infos = self.environment.step(actions)
        if len(due):
            rows = writer.append(self.observations[due], self._columns(due, actions[due], rewards[due]))
            self.returns.store(due, rows)
            self.stored_episodes += int((~self._stored[due]).sum())
            self._stored[due] = True
        self.returns.add(rewards)
        self.observations, self.levels = observations, infos.get("level_seed")
        self.starts = terminated | truncated
        for ended in np.flatnonzero(self.starts).tolist():
            stored, returns = self.returns.end(ended)
            # A time limit cuts the episode off: what would have followed is unknown.
            if terminated[ended]:
                writer.set_returns(stored, returns)
            self._stored[ended] = False
            self.episodes[ended] = self._next_episode
            self._next_episode += 1
        return self._frames

    def _columns(self, due: Array, actions: Array, rewards: Array) -> dict[str, Array]:
        columns = {
            "actions": actions,
            "rewards": rewards,
            "episodes": self.episodes[due],
            "environments": due,
            "episode_starts": self.starts[due],
        }
        return columns if self.levels is None else {**columns, "levels": self.levels[due]}


def _attributes(specification: EnvironmentSpec, actor: Actor, sampling: Sampling) -> dict[str, Any]:
    return {
        "environment": specification.id,
        "specification": json.dumps(specification.model_dump(mode="json"), sort_keys=True),
        "frame_stack": specification.frame_stack,
        "task": specification.task,
        "policy": actor.policy,
        "kind": actor.kind,
        "seed": sampling.seed,
        "stride": sampling.stride,
        "num_envs": sampling.num_envs,
        "gamma": sampling.gamma,
    }


def _summary(path: Path, episodes: int, actor: Actor) -> Collected:
    from probe.observations import open_observations

    written = open_observations(path)
    return Collected(path, written.samples, episodes, actor.kind, written.digest, path.stat().st_size)
