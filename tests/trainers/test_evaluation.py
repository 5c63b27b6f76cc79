from typing import Any

import numpy as np
import pytest
import torch

from probe.datasets.environments import EnvironmentSpec, VectorEnvironment
from probe.networks import build, preset
from probe.trainers import evaluation
from probe.trainers.base import ValueTerms
from probe.trainers.evaluation import Evaluation, evaluate
from probe.trainers.settings import EvaluationSettings

NETWORK = build(preset("mlp", (4,), 2, 8), torch.Generator().manual_seed(0))
CARTPOLE = EnvironmentSpec(id="CartPole-v1")


def run(seed: int = 0, **settings: Any) -> float:
    chosen = EvaluationSettings(**{"every": 1, "episodes": 5, **settings})
    return evaluate(NETWORK, CARTPOLE, 0, chosen, seed, "float32").mean_return


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


def with_values(value: float, scale: float | int, step_limit: int = 100) -> Evaluation:
    network = build(preset("mlp", (4,), 2, 8), torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.critic[-1].weight.zero_()
        network.critic[-1].bias.fill_(value)
    settings = EvaluationSettings(every=1, episodes=3, step_limit=step_limit)
    return evaluate(network, CARTPOLE, 0, settings, 0, "float32", value_terms=ValueTerms(0.5, float(scale)))


def test_the_value_bias_is_that_of_a_constant_value_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "make", lambda *_: Counting(3))
    # Returns with discount 0.5: 1; 1.5, 1; 1.75, 1.5, 1.
    expected = 4 * 0.5 - np.mean([1, 1.5, 1, 1.75, 1.5, 1])
    found = with_values(0.5, scale=4)
    assert found.value_bias == pytest.approx(expected, abs=1e-6)
    assert found.explained_variance == pytest.approx(0, abs=1e-6)
    assert found.mean_return == 2


def test_episodes_that_were_cut_off_tell_nothing_about_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "make", lambda *_: Counting(3))
    assert with_values(0.5, 1, step_limit=2).value_bias == pytest.approx(0.5 - np.mean([1, 1.5, 1]), abs=1e-6)


def test_without_a_whole_episode_there_is_no_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Counting):
        def step(self, actions: Any) -> Any:
            observations, rewards, _, truncated, infos = super().step(actions)
            return observations, rewards, truncated, truncated, infos

    monkeypatch.setattr(evaluation, "make", lambda *_: Endless(3))
    found = with_values(0.5, 1, step_limit=5)
    assert (found.value_bias, found.explained_variance, found.mean_return) == (None, None, 5)
