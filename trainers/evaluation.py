"""Returns of the current policy on test levels, and how well its critic foresaw them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from probe import policies
from probe.arrays import NDArray
from probe.datasets.environments import EnvironmentSpec, VectorEnvironment, make
from probe.networks import Network
from probe.probes.value import explained_variance, value_bias
from probe.returns import discounted
from probe.trainers.base import ValueTerms
from probe.trainers.machine import autocast
from probe.trainers.settings import EvaluationSettings
from probe.trainers.streams import derived_seed


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation came to; None where there is no number."""

    mean_return: float
    value_bias: float | None
    """Mean of V(s) - G over the states of the episodes that came to their end, in the rewards' own unit; G is the
    discounted return that followed."""
    explained_variance: float | None
    """1 - Var(G - V) / Var(G) over the same states."""


@dataclass(frozen=True)
class _Episodes:
    """The first episode of every environment."""

    rewards: Float64[NDArray[np.float64], "step environment"]
    """0 after the end."""
    values: Float64[NDArray[np.float64], "step environment"]
    lengths: Int64[NDArray[np.int64], " environment"]
    whole: Bool[NDArray[np.bool_], " environment"]
    """Whether it came to its end; what would have followed the others is not known."""

    def value_metrics(self, terms: ValueTerms) -> tuple[float | None, float | None]:
        """Returns the value bias and the explained variance over whole episodes."""
        chosen = [(self.rewards[:n, at], self.values[:n, at]) for at, n in enumerate(self.lengths) if self.whole[at]]
        if not chosen:
            return None, None
        returns = torch.from_numpy(np.concatenate([discounted(rewards, terms.gamma) for rewards, _ in chosen]))
        values = torch.from_numpy(np.concatenate([values for _, values in chosen]) * terms.scale)
        return value_bias(values, returns), explained_variance(values, returns)


@torch.no_grad()
def evaluate(
    network: Network,
    environment: EnvironmentSpec,
    task: int,
    settings: EvaluationSettings,
    seed: int,
    precision: str,
    threads: int = 0,
    value_terms: ValueTerms | None = None,
) -> Evaluation:
    """Plays the first episode of each of several new environments.

    Every environment counts once, however long its episode is: counting the first episodes to end would favour short
    ones.

    Args:
        network: left as it was, in the mode that it was in; it plays in eval mode.
        environment: what to play.
        task: which of the environment's tasks.
        settings: how many episodes, by which policy, for how long.
        seed: everything random follows from it.
        precision: `bfloat16` or `float32`.
        threads: Procgen's own.
        value_terms: what the critic's values are of; without them, no values are looked at.
    """
    training = network.training
    network.eval()
    envs = make(
        environment.model_copy(update={"task": task}), settings.episodes, derived_seed(seed, "environment"), threads
    )
    try:
        episodes = _first_episodes(network, envs, settings, seed, precision)
    finally:
        envs.close()
        network.train(training)
    bias, explained = (None, None) if value_terms is None else episodes.value_metrics(value_terms)
    return Evaluation(float(episodes.rewards.sum(axis=0).mean()), bias, explained)


def _first_episodes(
    network: Network, envs: VectorEnvironment, settings: EvaluationSettings, seed: int, precision: str
) -> _Episodes:
    generator = torch.Generator().manual_seed(derived_seed(seed, "act"))
    device = next(network.parameters()).device
    all_rewards, all_values = [], []
    lengths = np.zeros(envs.num_envs, np.int64)
    playing, whole = np.ones(envs.num_envs, np.bool_), np.zeros(envs.num_envs, np.bool_)
    observations, _ = envs.reset()
    for _ in range(settings.step_limit):
        with autocast(device.type, precision):
            outputs = network(torch.from_numpy(observations[playing]).to(device))
        outputs = {name: output.float().cpu() for name, output in outputs.items()}
        chosen = policies.act(outputs, settings.policy, generator, settings.epsilon)
        actions = np.zeros(envs.num_envs, np.int64)
        actions[playing] = chosen.numpy()
        values = np.zeros(envs.num_envs)
        if "critic" in outputs:
            values[playing] = _values(outputs["critic"], chosen).double().numpy()
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        all_rewards.append(np.where(playing, rewards, 0.0))
        all_values.append(values)
        lengths += playing
        whole |= playing & terminated
        playing &= ~(terminated | truncated)
        if not playing.any():
            break
    return _Episodes(np.array(all_rewards, np.float64), np.array(all_values), lengths, whole)


def _values(critic: Tensor, actions: Tensor) -> Tensor:
    """Returns V(s), or Q(s, a) of the chosen action where the critic has a value for each."""
    return critic if critic.ndim == 1 else critic.gather(1, actions.unsqueeze(1)).squeeze(1)
