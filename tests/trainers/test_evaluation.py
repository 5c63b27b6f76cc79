from typing import Any

import numpy as np
import pytest
import torch

from probe.datasets.environments import EnvironmentSpec, VectorEnvironment
from probe.networks import build, preset
from probe.trainers import evaluation
from probe.trainers.configuration import EvaluationSettings
from probe.trainers.evaluation import evaluate

NETWORK = build(preset("mlp", (4,), 2, 8), torch.Generator().manual_seed(0))
CARTPOLE = EnvironmentSpec(id="CartPole-v1")


def run(seed: int = 0, **settings: Any) -> float:
    chosen = EvaluationSettings(**{"every": 1, "episodes": 5, **settings})
    return evaluate(NETWORK, CARTPOLE, 0, chosen, seed, "float32")


class Counting(VectorEnvironment):
    """Environments whose episode k lasts k + 1 decisions for a reward of 1 each, over and over."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.lengths, self.closed = num_envs, np.zeros(num_envs, np.int64), False

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros((self.num_envs, 4), np.float32), {}

    def step(self, actions: Any) -> Any:
        self.lengths += 1
        ended = self.lengths == np.arange(self.num_envs) + 1
        self.lengths[ended] = 0
        observations = np.zeros((self.num_envs, 4), np.float32)
        return observations, np.ones(self.num_envs, np.float32), ended, np.zeros_like(ended), {}

    def get_state(self) -> None:
        return None

    def set_state(self, state: bytes) -> None:
        raise NotImplementedError


def test_every_environment_counts_once_however_long_its_episode_is(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = Counting(5)
    monkeypatch.setattr(evaluation, "make", lambda *_: envs)
    assert run() == (1 + 2 + 3 + 4 + 5) / 5
    assert envs.closed


def test_an_unfinished_episode_counts_with_its_return_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "make", lambda *_: Counting(5))
    assert run(step_limit=3) == (1 + 2 + 3 + 3 + 3) / 5


def test_the_return_follows_from_the_seed() -> None:
    assert run(seed=3) == run(seed=3) != run(seed=4)


def test_a_greedy_policy_does_not_draw() -> None:
    assert run(policy="greedy") != run(policy="sample")


def test_the_network_is_left_as_it_was() -> None:
    NETWORK.train()
    run()
    assert NETWORK.training
    NETWORK.eval()
    run()
    assert not NETWORK.training


def test_evaluation_plays_the_given_task(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[EnvironmentSpec] = []

    def recorded(spec: EnvironmentSpec, num_envs: int, *_: int) -> Counting:
        made.append(spec)
        return Counting(num_envs)

    monkeypatch.setattr(evaluation, "make", recorded)
    evaluate(NETWORK, CARTPOLE, 2, EvaluationSettings(every=1, episodes=2), 0, "float32")
    assert [spec.task for spec in made] == [2]
