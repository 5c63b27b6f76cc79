"""Runs of Stable-Baselines3 itself: a few updates on CartPole, Pendulum and small images, with its own callback."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("sb3_contrib")

from sb3_contrib import QRDQN, TQC, TRPO, MaskablePPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

CHECKPOINTS = 5


class Pixels(gymnasium.Env[Any, Any]):
    """Random images."""

    observation_space = gymnasium.spaces.Box(0, 255, (40, 40, 4), np.uint8)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._image(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._image(), 1.0, False, False, {}

    def _image(self) -> Any:
        return self.np_random.integers(0, 256, (40, 40, 4), dtype=np.uint8)


class PixelPendulum(Pixels):
    """Random images and a continuous action."""

    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def pong() -> Any:
    """Pong's screen as agents are given it: 84 x 84, grey, four frames stacked by the library."""
    ale = pytest.importorskip("ale_py")
    gymnasium.register_envs(ale)

    def made() -> Any:
        screen = gymnasium.make("ALE/Pong-v5", obs_type="grayscale")
        space = gymnasium.spaces.Box(0, 255, (84, 84, 1), np.uint8)
        return gymnasium.wrappers.TransformObservation(screen, _small, space)

    return VecFrameStack(DummyVecEnv([made]), 4)


def _small(screen: Any) -> Any:
    return np.asarray(Image.fromarray(screen).resize((84, 84), Image.Resampling.BOX))[..., None]


class OwnExtractor(nn.Module):
    """Stands for a user's features extractor."""


ON_POLICY = {"n_steps": 16, "seed": 1}
OFF_POLICY = {"buffer_size": 50, "learning_starts": 4, "seed": 1, "batch_size": 4}
UNUSUAL = {"net_arch": {"pi": [24, 12], "vf": [20]}, "activation_fn": nn.ELU}
MODELS: dict[str, tuple[Any, ...]] = {
    "ppo": (PPO, "MlpPolicy", "CartPole-v1", {**ON_POLICY, "batch_size": 16, "n_epochs": 1}),
    "ppo-unusual": (PPO, "MlpPolicy", "CartPole-v1", {**ON_POLICY, "policy_kwargs": UNUSUAL, "batch_size": 16}),
    "ppo-continuous": (PPO, "MlpPolicy", "Pendulum-v1", {**ON_POLICY, "batch_size": 16, "n_epochs": 1}),
    "ppo-images": (PPO, "CnnPolicy", Pixels, {"n_steps": 4, "batch_size": 4, "n_epochs": 1, "seed": 1}),
    "a2c-images": (
        *(A2C, "CnnPolicy", Pixels),
        {"n_steps": 4, "seed": 1, "policy_kwargs": {"share_features_extractor": False}},
    ),
    "a2c": (A2C, "MlpPolicy", "CartPole-v1", ON_POLICY),
    "dqn": (DQN, "MlpPolicy", "CartPole-v1", OFF_POLICY),
    "dqn-images": (DQN, "CnnPolicy", Pixels, OFF_POLICY),
    "sac": (SAC, "MlpPolicy", "Pendulum-v1", OFF_POLICY),
    "sac-images": (SAC, "CnnPolicy", PixelPendulum, OFF_POLICY),
    "ddpg": (DDPG, "MlpPolicy", "Pendulum-v1", OFF_POLICY),
    "td3": (TD3, "MlpPolicy", "Pendulum-v1", OFF_POLICY),
    "trpo": (TRPO, "MlpPolicy", "CartPole-v1", {**ON_POLICY, "batch_size": 16}),
    "qrdqn": (QRDQN, "MlpPolicy", "CartPole-v1", OFF_POLICY),
    "tqc": (TQC, "MlpPolicy", "Pendulum-v1", OFF_POLICY),
    "maskable-untrained": (MaskablePPO, "MlpPolicy", "CartPole-v1", ON_POLICY),
}
"""Class, policy, environment and settings."""
PONG = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "seed": 1}


def new_model(name: str) -> Any:
    cls, policy, environment, settings = (PPO, "CnnPolicy", pong, PONG) if name == "pong" else MODELS[name]
    made = environment if isinstance(environment, str) else environment()
    return cls(policy, made, device="cpu", **settings)


def train(name: str, folder: Path, steps: int, every: int) -> Any:
    """Trains a little and returns the model; the library's own callback writes checkpoints to the folder."""
    with torch.random.fork_rng(devices=[]):
        model = new_model(name)
        model.learn(steps, callback=CheckpointCallback(every, str(folder)))
    return model
