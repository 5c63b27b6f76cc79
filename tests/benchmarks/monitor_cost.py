"""What a Monitor at its default interval takes of the time of Stable-Baselines3's PPO and of a Lightning training."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
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
OPTIMISER_STEPS = 1_000
"""Likewise, of Lightning."""


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
    torch.set_num_threads(THREADS)
    for library, extra, printed in (("stable_baselines3", "sb3", _print_ppo), ("lightning", "lightning", _print_fit)):
        if find_spec(library) is None:
            print(f"  left out: {library} is not installed (extra `{extra}`)")
        else:
            printed()


def _print_ppo() -> None:
    for policy, environment in (("MlpPolicy", lambda: gymnasium.make("CartPole-v1")), ("CnnPolicy", Frames)):
        _print_share(policy, environment)


def _print_share(policy: str, environment: object) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from probe.integrations.stable_baselines3 import random_observations

    observations = random_observations(DummyVecEnv([environment] * 8), SAMPLES)
    model = PPO(policy, DummyVecEnv([environment] * 8), n_steps=32, batch_size=64, n_epochs=4, device="cpu", seed=0)
    model.learn(1)  # nothing is timed yet
    step = _seconds(lambda: model.learn(TRAINED[policy])) / TRAINED[policy]
    _print_against(f"PPO, {policy}", step, EVERY, model.policy, observations, _forward)


def _print_fit() -> None:
    """Prints the share of a training whose steps are as short as they come: an MLP on batches of 64 vectors."""
    from lightning.pytorch import LightningModule, Trainer
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from probe.integrations.lightning import EVERY as LIGHTNING_EVERY

    class Regression(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.body(rows)
            return output

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            return (self(batch[0]) - batch[0][:, :2]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    module, rows = Regression(), torch.randn(SAMPLES, 4)
    loader = DataLoader(TensorDataset(rows), batch_size=64, shuffle=True)
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    Trainer(max_steps=10, accelerator="cpu", **quiet).fit(module, loader)  # nothing is timed yet
    trainer = Trainer(max_steps=OPTIMISER_STEPS, accelerator="cpu", **quiet)
    step = _seconds(lambda: trainer.fit(module, loader)) / OPTIMISER_STEPS
    _print_against("Lightning, MLP", step, LIGHTNING_EVERY, module, rows, None)


def _print_against(
    name: str,
    step: float,
    every: int,
    network: torch.nn.Module,
    observations: Any,
    forward: Callable[..., object] | None,
) -> None:
    """Prints what a measurement takes of an interval of training, of which a step takes so many seconds."""
    training = step * every
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor(network, observations, forward=forward, out=Path(folder) / "a.h5")
        monitor.measure(0)
        steps = [every * index for index in range(1, INTERVALS + 1)]
        measuring = _seconds(lambda: [*map(monitor.measure, steps), monitor.close()]) / INTERVALS
    print(f"  {name}, {THREADS} thread: {every:,} steps of training {training:.0f} s, a measurement of")
    print(f"    {SAMPLES:,} observations {measuring:.2f} s: {measuring / training:.2%} (target 2 %)", flush=True)


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
