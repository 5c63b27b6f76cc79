from math import log
from pathlib import Path

import pytest
import torch

from probe.errors import ConfigurationError
from probe.trainers.configuration import load
from probe.trainers.guards import are_even, held, is_beyond
from probe.trainers.ppo import normalised, to_learn_from
from probe.trainers.settings import GuardSettings
from tests.trainers.mitigations.agents import agent, assert_equal, snapshot
from tests.trainers.runs import configuration

GUARDS = GuardSettings()


def test_ratios_beyond_the_bound_become_a_bound_and_lose_their_gradient() -> None:
    given = torch.tensor([-25.0, -20.0, -4.0, 0.0, 4.0, 20.0, 1e30], requires_grad=True)
    found = held(given, GUARDS)
    assert found.tolist() == pytest.approx([log(0.05), -20, -4, 0, 4, 20, log(20)])
    assert is_beyond(given, GUARDS).tolist() == [True, False, False, False, False, False, True]
    (gradient,) = torch.autograd.grad(found.sum(), given)
    assert gradient.tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert found.exp().isfinite().all()


def test_nan_is_not_held() -> None:
    given = torch.tensor([float("nan"), 1.0])
    assert held(given, GUARDS).isnan().tolist() == [True, False]
    assert not is_beyond(given, GUARDS).any()


def test_advantages_that_hardly_differ_are_left_as_they_are(tmp_path: Path) -> None:
    noise = torch.tensor([1.0, 1.0 + 2e-6, 1.0 - 2e-6])
    assert are_even(noise, GUARDS) and not are_even(100 * noise, GUARDS)
    guarded = configuration("ppo.guards={}", folder=tmp_path).ppo
    assert guarded is not None
    found, kept = to_learn_from(noise, guarded)
    assert torch.equal(found, noise) and kept
    found, kept = to_learn_from(100 * noise, guarded)
    assert torch.equal(found, normalised(100 * noise)) and not kept
    plain = configuration(folder=tmp_path).ppo
    assert plain is not None
    assert to_learn_from(noise, plain)[0].abs().max() > 0.9, "without the guard, rounding is blown up to 1"


def test_guards_that_never_act_leave_the_training_as_it_is(tmp_path: Path) -> None:
    plain, guarded = agent(tmp_path, "baseline"), agent(tmp_path, "baseline", "ppo.guards={}")
    for _ in range(2):
        plain.iterate()
        metrics = guarded.iterate()
    assert_equal(snapshot(plain), snapshot(guarded))
    assert metrics["guard/held_ratios"] == metrics["guard/unnormalised_minibatches"] == 0
    assert not guarded.notes and {"guard/held_ratios", "guard/unnormalised_minibatches"} <= set(guarded.columns)


def test_a_guard_that_acts_says_once_what_happened_and_counts_on(tmp_path: Path) -> None:
    settings = ("ppo.guards.log_ratio=1e-3", "ppo.guards.least_deviation=1e3", "ppo.learning_rate=0.01", "ppo.passes=3")
    trainer = agent(tmp_path, "baseline", *settings)
    shares = [trainer.iterate() for _ in range(2)]
    assert all(0 < (metrics["guard/held_ratios"] or 0) < 1 for metrics in shares)
    assert [metrics["guard/unnormalised_minibatches"] for metrics in shares] == [1, 1]
    assert len(trainer.notes) == 2
    assert "had a probability ratio beyond e^+-0.001 and were learnt from with 0.05 or 20" in trainer.notes[0]
    assert trainer.notes[1].startswith("In the update from step 0 on, 100.00% of its minibatches had advantages")


@pytest.mark.parametrize("ratio", ["[2, 20]", "[0, 20]", "[0.5, 0.9]"])
def test_bounds_that_leave_out_one_are_refused(ratio: str) -> None:
    with pytest.raises(ConfigurationError, match="two positive numbers around 1"):
        load("pong-stable", [f"ppo.guards.ratio={ratio}"])
