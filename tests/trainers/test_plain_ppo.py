"""One float32 update beside the plainly written one: the same weights, decisions and minibatches."""

from copy import deepcopy

import pytest
import torch

from probe.networks import build
from probe.trainers.configuration import load
from probe.trainers.mitigations import make_mitigation
from probe.trainers.ppo import Ppo
from tests.trainers.plain_ppo import PlainPpo, StepByStep, distance

STEPS, ENVIRONMENTS, MINIBATCH, PASSES = 8, 4, 16, 3
SMALL = (
    f"ppo.rollout_steps={STEPS}",
    f"ppo.environments={ENVIRONMENTS}",
    f"ppo.minibatch={MINIBATCH}",
    "ppo.micro_batch=6",
)


def played(*settings: str) -> Ppo:
    """Returns an agent that has played CoinRun, with rewards and ends that a short play has not."""
    trainer = Ppo(load("coinrun-cleanrl", [*SMALL, *settings]), make_mitigation("baseline", {}), 0, "cpu", "float32")
    with torch.no_grad():
        trainer.network.get_parameter("actor.output.weight").mul_(100)  # at first all actions are as likely
    trainer._play()
    rollout, rng = trainer.rollout, torch.Generator().manual_seed(1)
    rollout.rewards.normal_(generator=rng)
    rollout.ended.copy_(torch.rand(rollout.ended.shape, generator=rng) < 0.2)
    # As if other weights had acted, so that ratios and values are clipped from the first minibatch on.
    rollout.values += torch.randn(rollout.values.shape, generator=rng) / 2
    rollout.log_probabilities += torch.randn(rollout.values.shape, generator=rng) / 2
    return trainer


def beside(trainer: Ppo) -> list[float]:
    """Makes an update of ours beside the plain one; returns the weights' difference after each step."""
    plain = PlainPpo(build(trainer.network.spec, torch.Generator()), STEPS, ENVIRONMENTS)
    plain.take(trainer)
    rng = torch.Generator()
    rng.set_state(trainer.streams["batch"].get_state())
    orders = [torch.randperm(STEPS * ENVIRONMENTS, generator=rng) for _ in range(PASSES)]
    trainer.mitigation = steps = StepByStep(plain, orders, MINIBATCH)
    trainer._learn(trainer._estimate(), gradient_norms=False)
    assert next(steps._steps, "no more") == "no more"
    return steps.differences


def test_an_update_makes_the_steps_of_the_plain_one() -> None:
    trainer = played()
    before = deepcopy(trainer.network)
    differences = beside(trainer)
    assert len(differences) == PASSES * STEPS * ENVIRONMENTS // MINIBATCH
    assert sum(differences) < 1e-5
    assert distance(before, trainer.network) > 1e-3


@pytest.mark.parametrize(
    "setting",
    [
        "gamma=0.99",
        "gae_lambda=0.9",
        "clip=0.1",
        "clip_value_loss=false",
        "value_coefficient=0.5",
        "entropy_coefficient=0.05",
        "normalise_advantages=false",
        "gradient_clip=1.0",
        "learning_rate=6e-4",
        "adam_epsilon=1e-6",
    ],
)
def test_another_setting_makes_other_steps(setting: str) -> None:
    assert sum(beside(played(f"ppo.{setting}"))) > 1e-4
