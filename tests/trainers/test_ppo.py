from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probe.errors import ConfigurationError
from probe.trainers.base import NumericalFault
from probe.trainers.mitigations import make_mitigation
from probe.trainers.ppo import Ppo, explained_variance, normalised, policy_loss, ppo_loss, value_loss
from probe.trainers.rollout import Decisions
from tests.trainers.runs import CARTPOLE, PROCGEN, configuration


def agent(folder: Path, *settings: str, toml: str = CARTPOLE, precision: str = "float32", seed: int = 0) -> Ppo:
    return Ppo(
        configuration(*settings, toml=toml, folder=folder), make_mitigation("baseline", {}), seed, "cpu", precision
    )


def test_the_policy_loss_takes_the_worse_of_ratio_and_clipped_ratio() -> None:
    ratio, advantages = torch.tensor([1.5, 1.5, 0.5, 0.5]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    # min(1.5, 1.2), min(-1.5, -1.2), min(0.5, 0.8), min(-0.5, -0.8)
    assert torch.isclose(policy_loss(ratio, advantages, 0.2), torch.tensor(-(1.2 - 1.5 + 0.5 - 0.8) / 4))


def test_a_clipped_ratio_has_no_gradient() -> None:
    ratio = torch.tensor([1.5, 0.5, 1.1], requires_grad=True)
    (gradient,) = torch.autograd.grad(policy_loss(ratio, torch.tensor([1.0, -1.0, 1.0]), 0.2), ratio)
    assert gradient.tolist() == [0.0, 0.0, pytest.approx(-1 / 3)]


def test_the_value_loss_by_hand() -> None:
    values, old, returns = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.9]), torch.tensor([2.0, 0.0])
    assert value_loss(values, old, returns, None).item() == pytest.approx((1 + 9) / 2)
    # Held within 0.2 of the old: 0.2 and 3.0; the larger squared error counts: 1.8^2 and 9.
    assert value_loss(values, old, returns, 0.2).item() == pytest.approx((1.8**2 + 9) / 2)


def test_the_whole_loss_by_hand(tmp_path: Path) -> None:
    settings = configuration("ppo.entropy_coefficient=0.1", "ppo.value_coefficient=0.25", folder=tmp_path).ppo
    outputs = {"actor": torch.tensor([[0.0, log(3.0)]]), "critic": torch.tensor([1.0])}
    batch = Decisions(torch.zeros(1, 4), torch.tensor([1]), *(torch.tensor([x]) for x in (log(0.5), 0.0, 2.0, 3.0)))
    loss, statistics = ppo_loss(outputs, batch, settings)
    entropy = -(0.25 * log(0.25) + 0.75 * log(0.75))
    expected = [0.5, -1.2 * 2.0, 4.0, entropy, 0.5 - log(1.5), 1.0, 0.0]
    assert statistics.tolist() == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(-2.4 + 0.25 * 4.0 - 0.1 * entropy, rel=1e-5)


def test_normalised_advantages() -> None:
    found = normalised(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(found, torch.tensor([-1.0, 0.0, 1.0]))
    assert normalised(torch.full((4,), 3.0)).tolist() == [0.0] * 4


def test_explained_variance() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.zeros(3), returns) == 0.0
    assert explained_variance(-returns, returns) == pytest.approx(-3.0)
    assert explained_variance(returns, torch.ones(3)) is None


@pytest.mark.parametrize("toml", [CARTPOLE, PROCGEN], ids=["vectors", "images"])
def test_the_first_minibatch_has_the_probabilities_of_acting(tmp_path: Path, toml: str) -> None:
    trainer = agent(tmp_path, toml=toml)
    assert abs(trainer.iterate()["policy/first_ratio_deviation"] or 0) < 1e-5
    # The check sees a difference: weights that moved since acting give another ratio.
    trainer._play()
    batch = trainer._estimate()
    with torch.no_grad():
        for parameter in trainer.network.get_submodule("actor").parameters():
            parameter.mul_(30)
    deviation = trainer._learn(batch, gradient_norms=False)["policy/first_ratio_deviation"]
    assert deviation is not None and deviation > 1e-2


@pytest.mark.parametrize("micro_batch", [7, 16, 31])
def test_micro_batches_sum_to_the_gradient_of_the_minibatch(tmp_path: Path, micro_batch: int) -> None:
    def gradients(size: int) -> tuple[list[Tensor], Tensor]:
        trainer = agent(tmp_path, f"ppo.micro_batch={size}", toml=PROCGEN)
        trainer._play()
        batch = trainer._estimate()
        order = torch.randperm(len(batch), generator=trainer.streams["batch"])
        statistics = trainer._minibatch(batch, order[:32])
        return [p.grad for p in trainer.network.parameters() if p.grad is not None], statistics

    whole, expected = gradients(32)
    parts, statistics = gradients(micro_batch)
    assert len(whole) == len(parts) == 14
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    assert torch.allclose(statistics, expected, rtol=1e-4, atol=1e-6)


def test_a_restored_agent_learns_on_bit_for_bit(tmp_path: Path) -> None:
    first, second = agent(tmp_path, toml=PROCGEN), agent(tmp_path, toml=PROCGEN, seed=1)
    for _ in range(3):
        first.iterate()
    state = first.get_state()
    expected = [first.iterate() for _ in range(2)]
    second.set_state(state)
    assert [second.iterate() for _ in range(2)] == expected
    assert_equal(first.get_state(), second.get_state())


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    else:
        assert one == other


def test_a_state_is_a_copy(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    trainer.iterate()
    state = trainer.get_state()
    weights = {name: tensor.clone() for name, tensor in state["network"].items()}
    moments = {index: entry["exp_avg"].clone() for index, entry in state["optimizer"]["state"].items()}
    trainer.iterate()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state["network"].items())
    assert all(torch.equal(moments[index], entry["exp_avg"]) for index, entry in state["optimizer"]["state"].items())


def test_the_task_shifts_when_its_updates_are_done(tmp_path: Path) -> None:
    trainer = agent(tmp_path, toml=PROCGEN)
    tasks = []
    for _ in range(5):
        trainer.iterate()
        tasks.append(trainer.task)
    assert tasks == [0, 0, 1, 1, 2]


def test_a_shift_in_steps_comes_at_the_first_update_after_it(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "environment.shift.unit=steps", "environment.shift.at=[65, 128]", toml=PROCGEN)
    tasks = []
    for _ in range(4):
        trainer.iterate()
        tasks.append(trainer.task)
    assert tasks == [0, 0, 2, 2]


@pytest.mark.parametrize(("fresh", "steps"), [("true", 6), ("false", 18)])
def test_the_optimiser_starts_anew_at_a_shift_where_the_preset_says_so(tmp_path: Path, fresh: str, steps: int) -> None:
    trainer = agent(tmp_path, f"ppo.new_optimizer_at_shift={fresh}", toml=PROCGEN)
    for _ in range(3):
        trainer.iterate()
    (count,) = {int(entry["step"]) for entry in trainer.optimizer.state.values()}
    assert count == steps  # 2 minibatches x 3 passes an update, the shift before the third


def test_a_time_limit_is_no_end_of_the_return(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "environment.step_limit=5", "ppo.gamma=1", "ppo.gae_lambda=0")
    trainer._play()
    rollout = trainer.rollout
    cut = rollout.ended & (rollout.final_values != 0)
    assert cut.sum() >= 8  # CartPole rarely falls within 5 decisions
    batch = trainer._estimate()
    returns = batch.returns.view(rollout.ended.shape)
    # With lambda 0 the target is r + V(next), and V(next) of the cut episode's last observation.
    assert torch.allclose(returns[cut], rollout.rewards[cut] + rollout.final_values[cut], atol=1e-6)


def test_cartpole_is_learnt(tmp_path: Path) -> None:
    trainer = agent(
        tmp_path,
        "ppo.environments=8",
        "ppo.rollout_steps=64",
        "ppo.minibatch=64",
        "ppo.learning_rate=3e-3",
        "ppo.passes=6",
    )
    lengths = [trainer.iterate()["return/train"] or 0 for _ in range(25)]
    assert sum(lengths[-5:]) > 3 * sum(lengths[:5])


def test_actions_that_are_not_discrete_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="algorithm 'ppo' here needs a Discrete action space"):
        agent(tmp_path, "environment.id=Pendulum-v1")


def test_a_network_for_other_observations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'conv64' takes 64 x 64 images, the environment gives \(4,\)"):
        agent(tmp_path, "network.name=conv64")


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    trainer.iterate()
    with torch.no_grad():
        trainer.network.get_submodule("critic").get_parameter("output.bias").fill_(float("inf"))
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    with pytest.raises(NumericalFault, match=r"update 2 \(step 64\): infinity in the values"):
        trainer.iterate()
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.network.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "words"),
    [("actor", "NaN in the actor's output"), ("critic", "NaN in the values"), ("encoder", "NaN in the actor's output")],
)
def test_the_first_tensor_that_broke_while_acting_is_named(tmp_path: Path, layer: str, words: str) -> None:
    trainer = agent(tmp_path)
    with torch.no_grad():
        next(trainer.network.get_submodule(layer).parameters()).fill_(float("nan"))
    with pytest.raises(NumericalFault, match=words):
        trainer.iterate()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("log_probabilities", "NaN in the probability ratio"),
        ("returns", "NaN in loss/value"),
        ("advantages", "NaN in loss/policy"),
    ],
)
def test_the_first_tensor_that_broke_while_learning_is_named(tmp_path: Path, part: str, words: str) -> None:
    trainer = agent(tmp_path)
    trainer._play()
    batch = trainer._estimate()
    getattr(batch, part)[5] = float("nan")
    with pytest.raises(NumericalFault, match=words):
        trainer._learn(batch, gradient_norms=False)


def test_advantages_that_are_not_finite_are_named(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    trainer._play()
    trainer.rollout.rewards[3, 1] = float("inf")
    with pytest.raises(NumericalFault, match=r"update 1 \(step 0\): infinity in the advantages"):
        trainer._estimate()


def test_a_weight_that_a_step_left_infinite_is_named_before_it_is_kept(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "ppo.learning_rate=1e39", "ppo.passes=1", "ppo.minibatch=64", "ppo.micro_batch=64")
    with pytest.raises(NumericalFault, match=r"update 1 \(step 0\): (infinity|NaN) in encoder\.dense1\.weight"):
        trainer.iterate()
    assert trainer.updates == 0


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    critic = trainer.network.get_submodule("critic").get_parameter("output.weight")
    critic.register_hook(lambda gradient: gradient * float("nan"))  # type: ignore[no-untyped-call]
    with pytest.raises(NumericalFault, match=r"NaN in the gradient of critic\.output\.weight"):
        trainer.iterate()


def test_finite_gradients_whose_norm_is_not_end_the_training_too(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    critic = trainer.network.get_submodule("critic").get_parameter("output.weight")
    critic.register_hook(lambda gradient: torch.full_like(gradient, 1e30))  # type: ignore[no-untyped-call]
    with pytest.raises(NumericalFault, match="infinity in the norm of all gradients"):
        trainer.iterate()


def test_the_ratio_of_clipped_decisions_is_a_share(tmp_path: Path) -> None:
    metrics = agent(tmp_path, "ppo.learning_rate=0.05").iterate()
    assert 0 < (metrics["policy/clip_fraction"] or 0) <= 1
    assert (metrics["policy/kl"] or 0) > 0
    assert 0 < (metrics["policy/entropy"] or 0) <= log(2) * (1 + 1e-6)
    assert exp(metrics["policy/entropy"] or 0) <= 2 + 1e-5


LEVELS = PROCGEN.replace("at = [2, 4]", 'at = [2, 4]\nkind = "levels"')


def test_a_shift_to_new_levels_starts_new_episodes_and_forgets_the_old_returns(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "ppo.normalise_rewards=true", toml=LEVELS)
    for _ in range(2):
        trainer.iterate()
    trainer.rewards.returns[:] = 5.0
    trainer._begin_update()
    assert trainer.task == 1 and trainer.envs.lengths.tolist() == [0] * 4
    assert trainer.rewards.returns.tolist() == [0.0] * 4
    assert (trainer._current == trainer.envs.current_observations()).all()
    levels = trainer.envs.step(np.zeros(4, int))[4]["level_seed"]
    assert ((levels >= 100) & (levels < 200)).all()


def test_training_resumes_exactly_across_a_shift_to_new_levels(tmp_path: Path) -> None:
    whole, resumed = agent(tmp_path, toml=LEVELS), agent(tmp_path, toml=LEVELS)
    for _ in range(3):
        whole.iterate()
    resumed.set_state(whole.get_state())
    for _ in range(3):
        assert whole.iterate() == resumed.iterate()
    assert whole.task == resumed.task == 2


def test_the_recent_return_is_the_mean_of_the_last_twenty_episodes(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    returns: list[float] = []
    step = trainer.envs.step

    def recorded(actions: Any) -> Any:
        result = step(actions)
        if "episode" in result[-1]:
            returns.extend(result[-1]["episode"]["r"][result[-1]["_episode"]].tolist())
        return result

    trainer.envs.step = recorded  # type: ignore[method-assign]
    seen = []
    for _ in range(14):
        recent = trainer.iterate()["return/recent"]
        assert recent == (None if len(returns) < 20 else pytest.approx(np.mean(returns[-20:])))
        seen.append(recent is not None)
    assert seen[0] is False and seen[-1] is True
    other = agent(tmp_path)
    other.set_state(trainer.get_state())
    assert other.get_state()["recent"] == trainer.get_state()["recent"] == pytest.approx(returns[-20:])


def test_the_recent_return_starts_anew_at_a_shift(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    for _ in range(14):
        trainer.iterate()
    trainer._shifted(new_episodes=False)
    assert trainer.iterate()["return/recent"] is None


def test_the_values_unit_is_what_rewards_are_divided_by(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    assert trainer.value_terms.gamma == trainer.settings.gamma
    trainer.iterate()
    scale = trainer.value_terms.scale
    reward = np.full(4, 0.25, np.float32)
    before = trainer.rewards.get_state()
    scaled = trainer.rewards(reward, np.zeros(4, np.bool_))
    assert scaled == pytest.approx(reward / trainer.value_terms.scale)
    trainer.rewards.set_state(before)
    assert trainer.value_terms.scale == scale
    assert agent(tmp_path, "ppo.normalise_rewards=false").value_terms.scale == 1
