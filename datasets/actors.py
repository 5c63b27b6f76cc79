"""Who acts while observations are collected: chance, or a checkpoint's network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from probe.checkpoints import Checkpoint
from probe.datasets.environments import VectorEnvironment
from probe.errors import ConfigurationError
from probe.policies import Mode, act, preferences

Array = NDArray[Any]
Kind = Literal["pooled", "matched"]


@dataclass(frozen=True)
class Actor:
    """Chooses the actions of all environments."""

    policy: str
    """`random`, or the SHA-256 of the checkpoint that acts."""
    kind: Kind
    """What its observations are: one set for all checkpoints, or a checkpoint's own."""
    act: Callable[[Array], Array]
    """Observations (environment, ...) -> actions (environment, ...)."""


def random_actor(environment: VectorEnvironment, seed: int) -> Actor:
    """Returns an actor that draws uniformly from the action space."""
    space = environment.single_action_space
    rng = np.random.default_rng([seed, 1])
    if isinstance(space, Discrete):
        first, count = int(space.start), int(space.n)
        return Actor("random", "pooled", lambda _: rng.integers(first, first + count, environment.num_envs))
    environment.action_space.seed(seed)
    return Actor("random", "pooled", lambda _: np.asarray(environment.action_space.sample()))


def checkpoint_actor(environment: VectorEnvironment, checkpoint: Checkpoint, seed: int) -> Actor:
    """Returns an actor that draws from a checkpoint's policy as it did in training, in eval mode and float32.

    Raises:
        ConfigurationError: the network has another number of actions than the environment.
        ShapeError: its observations have another shape; raised by the first action.
    """
    network, epsilon = checkpoint.network(), checkpoint.exploration
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, 1]).integers(2**63)))
    space = environment.single_action_space

    def choose(observations: Array) -> Array:
        with torch.no_grad(), _one_thread():
            outputs = network(checkpoint.prepare(torch.from_numpy(observations)))
        offered = preferences(outputs).shape[-1]
        if not isinstance(space, Discrete) or offered != space.n:
            raise ConfigurationError(
                f"{checkpoint.path}: its policy has {offered} actions, {environment.specification.id} offers "
                f"{_described(space)}. Collect from the environment that it was trained in."
            )
        mode: Mode = "sample" if epsilon is None else "epsilon-greedy"
        return np.asarray(act(outputs, mode, generator, epsilon or 0.0).numpy() + space.start)

    return Actor(checkpoint.digest, "matched", choose)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps PyTorch to one thread: as fast for a few frames, and the set is the same on every machine of a kind."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _described(space: Space[Any]) -> str:
    return str(space.n) if isinstance(space, Discrete) else str(space)
