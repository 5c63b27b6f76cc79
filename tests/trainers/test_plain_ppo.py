"""One float32 update beside the plainly written one: the same weights, decisions and minibatches."""

import pytest
import torch
from torch import Tensor

from probe.networks import build
from probe.trainers.configuration import load
from probe.trainers.mitigations import make_mitigation
from probe.trainers.ppo import Ppo
from tests.trainers.plain_ppo import PlainPpo

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
    trainer._play()
    rollout, rng = trainer.rollout, torch.Generator().manual_seed(1)
    rollout.rewards.normal_(generator=rng)
    rollout.ended.copy_(torch.rand(rollout.ended.shape, generator=rng) < 0.2)
    # As if other weights had acted, so that ratios and values are clipped from the first minibatch on.
    rollout.values += torch.randn(rollout.values.shape, generator=rng) / 2
    rollout.log_probabilities += torch.randn(rollout.values.shape, generator=rng) / 2
    return trainer


def learnt(trainer: Ppo) -> list[Tensor]:
    trainer._learn(trainer._estimate(), gradient_norms=False)
    return [parameter.detach() for parameter in trainer.network.parameters()]


def distance(first: list[Tensor], second: list[Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def plain() -> PlainPpo:
    """The plain update after it has learnt from what `played` gives."""
    trainer = played()
    made = PlainPpo(build(trainer.network.spec, torch.Generator()), STEPS, ENVIRONMENTS)
    made.network.load_state_dict(trainer.network.state_dict())
    rollout = trainer.rollout
    made.observations.copy_(rollout.observations)
    made.actions.copy_(rollout.actions)
    made.log_p.copy_(rollout.log_probabilities)
    made.values.copy_(rollout.values)
    made.rewards.copy_(rollout.rewards)
    made.began[1:] = rollout.ended[:-1]
    made.current_began.copy_(rollout.ended[-1])
    made.current.copy_(torch.from_numpy(trainer._current))
    orders = [torch.randperm(STEPS * ENVIRONMENTS, generator=trainer.streams["batch"]) for _ in range(PASSES)]
    made.update(orders, MINIBATCH)
    return made


def test_an_update_gives_the_weights_of_the_plain_one(plain: PlainPpo) -> None:
    trainer = played()
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    after = learnt(trainer)
    expected = [parameter.detach() for parameter in plain.network.parameters()]
    assert distance(before, expected) > 1e-3
    assert distance(after, expected) < 1e-5
    for ours, theirs in zip(trainer.network.parameters(), plain.network.parameters(), strict=True):
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.allclose(
                trainer.optimizer.state[ours][moment], plain.optimizer.state[theirs][moment], rtol=0, atol=1e-5
            )


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
        "adam_epsilon=1e-8",
    ],
)
def test_another_setting_gives_other_weights(plain: PlainPpo, setting: str) -> None:
    after = learnt(played(f"ppo.{setting}"))
    assert distance(after, [parameter.detach() for parameter in plain.network.parameters()]) > 1e-4
