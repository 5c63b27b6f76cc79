"""Who acts while observations are collected: chance, or a checkpoint's network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from torch import Tensor

from probe.checkpoints import Checkpoint
from probe.datasets.environments import VectorEnvironment
from probe.errors import ConfigurationError
from probe.outputs import named_outputs
from probe.policies import epsilon_greedy, sample

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
        ConfigurationError: its actions are not the environment's, or how they are drawn is not known; raised by the
            first action.
        ShapeError: its observations have another shape; likewise.
    """
    network = checkpoint.network()
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, 1]).integers(2**63)))
    choose = _discrete if isinstance(environment.single_action_space, Discrete) else _continuous

    def act(observations: Array) -> Array:
        with torch.no_grad(), _one_thread():
            outputs = named_outputs(network, checkpoint.prepare(torch.from_numpy(observations)))
        return choose(environment, checkpoint, outputs, generator)

    return Actor(checkpoint.digest, "matched", act)


def _discrete(
    environment: VectorEnvironment, checkpoint: Checkpoint, outputs: dict[str, Tensor], generator: torch.Generator
) -> Array:
    """Draws from the logits `actor`, or takes the best of the one output that has a value for each action."""
    space: Any = environment.single_action_space
    named = {"actor": outputs["actor"]} if "actor" in outputs else outputs
    fitting = [each for each in named.values() if each.shape[1] == space.n]
    if len(fitting) != 1:
        offered = " or ".join(str(each.shape[1]) for each in named.values())
        raise ConfigurationError(
            f"{checkpoint.path}: its policy has {offered} actions, {environment.specification.id} offers {space.n}. "
            "Collect from the environment that it was trained in."
        )
    if "actor" in outputs:
        chosen = sample(fitting[0], generator)
    else:
        chosen = epsilon_greedy(fitting[0], checkpoint.exploration or 0.0, generator)
    return np.asarray(chosen.numpy() + space.start)


def _continuous(
    environment: VectorEnvironment, checkpoint: Checkpoint, outputs: dict[str, Tensor], generator: torch.Generator
) -> Array:
    """Draws as the checkpoint knows how, within the environment's bounds."""
    space = environment.single_action_space
    drawn = checkpoint.draw(outputs, generator)
    if not isinstance(space, Box) or drawn is None or tuple(drawn.shape[1:]) != space.shape:
        raise ConfigurationError(
            f"{checkpoint.path}: how its policy draws the actions of {environment.specification.id}, {space}, is not "
            "known. Collect with --policy random, or from the environment that it was trained in."
        )
    return np.clip(drawn.numpy(), space.low, space.high)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps PyTorch to one thread: as fast for a few frames, and the set is the same on every machine of a kind."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
