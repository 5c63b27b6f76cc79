"""Returns of the current policy on test levels."""

import numpy as np
import torch
from jaxtyping import Float64

from probe import policies
from probe.arrays import NDArray
from probe.datasets.environments import EnvironmentSpec, VectorEnvironment, make
from probe.networks import Network
from probe.trainers.configuration import EvaluationSettings
from probe.trainers.machine import autocast
from probe.trainers.streams import derived_seed


@torch.no_grad()
def evaluate(
    network: Network,
    environment: EnvironmentSpec,
    task: int,
    settings: EvaluationSettings,
    seed: int,
    precision: str,
    threads: int = 0,
) -> float:
    """Plays the first episode of each of several new environments and returns the mean return.

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
    """
    training = network.training
    network.eval()
    envs = make(
        environment.model_copy(update={"task": task}), settings.episodes, derived_seed(seed, "environment"), threads
    )
    try:
        returns = _first_returns(network, envs, settings, seed, precision)
    finally:
        envs.close()
        network.train(training)
    return float(returns.mean())


def _first_returns(
    network: Network, envs: VectorEnvironment, settings: EvaluationSettings, seed: int, precision: str
) -> Float64[NDArray[np.float64], "environment"]:
    generator = torch.Generator().manual_seed(derived_seed(seed, "act"))
    device = next(network.parameters()).device
    returns = np.zeros(envs.num_envs)
    playing = np.ones(envs.num_envs, np.bool_)
    observations, _ = envs.reset()
    for _ in range(settings.step_limit):
        shown = torch.from_numpy(observations[playing]).to(device)
        with autocast(device.type, precision):
            outputs = {name: output.float().cpu() for name, output in network(shown).items()}
        actions = np.zeros(envs.num_envs, np.int64)
        actions[playing] = policies.act(outputs, settings.policy, generator, settings.epsilon).numpy()
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        returns[playing] += rewards[playing]
        playing &= ~(terminated | truncated)
        if not playing.any():
            break
    return returns
