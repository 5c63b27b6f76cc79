"""What a Monitor at its default interval takes of the time of Stable-Baselines3's PPO, on vectors and on images."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from probe.monitor.monitor import EVERY, Monitor

THREADS = 1
SAMPLES = 2_560
INTERVALS = 5
"""Measurements that are timed, after the first."""
TRAINED = {"MlpPolicy": 4_096, "CnnPolicy": 512}
"""Steps of training that are timed; the rest of the interval is reckoned from them."""


class Frames(gymnasium.Env[np.ndarray, int]):
    """Random 84 x 84 frames, four stacked, at no cost: nothing but the network's own work is in the ratio."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    action_space = gymnasium.spaces.Discrete(6)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        rng = np.random.default_rng(seed)
        self._frames = rng.integers(0, 256, (16, 4, 84, 84), dtype=np.uint8)
        self._step = 0
        return self._frames[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self._step += 1
        return self._frames[self._step % 16], float(action == self._step % 6), self._step == 500, False, {}


def main() -> None:
    """Prints each share."""
    # A process of its own: the thread count must stand before PyTorch's first parallel work.
    subprocess.run([sys.executable, "-m", __name__], check=True)


def _print_cost() -> None:
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        print("  left out: stable-baselines3 is not installed (extra `sb3`)")
        return
    torch.set_num_threads(THREADS)
    for policy, environment in (("MlpPolicy", lambda: gymnasium.make("CartPole-v1")), ("CnnPolicy", Frames)):
        _print_share(policy, environment)


def _print_share(policy: str, environment: object) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from probe.integrations.stable_baselines3 import random_observations

    observations = random_observations(DummyVecEnv([environment] * 8), SAMPLES)
    model = PPO(policy, DummyVecEnv([environment] * 8), n_steps=32, batch_size=64, n_epochs=4, device="cpu", seed=0)
    model.learn(1)  # nothing is timed yet
    training = _seconds(lambda: model.learn(TRAINED[policy])) / TRAINED[policy] * EVERY
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor(model.policy, observations, forward=_forward, out=Path(folder) / "a.h5")
        monitor.measure(0)
        steps = [EVERY * index for index in range(1, INTERVALS + 1)]
        measuring = _seconds(lambda: [*map(monitor.measure, steps), monitor.close()]) / INTERVALS
    print(f"  PPO, {policy}, {THREADS} thread: {EVERY:,} steps of training {training:.0f} s, a measurement of")
    print(f"    {SAMPLES:,} observations {measuring:.2f} s: {measuring / training:.2%} (target 2 %)")


def _forward(policy: Any, observations: torch.Tensor) -> object:
    from probe.integrations.stable_baselines3 import policy_outputs

    return policy_outputs(policy, observations)


def _seconds(work: Callable[[], object]) -> float:
    """Returns the processor's time, which other processes do not lengthen."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    _print_cost()
