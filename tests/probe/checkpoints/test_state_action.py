"""Networks of a state and an action that the user gives: what they are given, and against their own hooks."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe import analyze, open_observations
from probe.checkpoints import Checkpoint, Hints, open_checkpoint
from probe.checkpoints.normalisation import Normalisation
from probe.errors import ShapeError
from probe.inputs import blank_input, network_inputs
from probe.observations import ObservationSet
from tests.probe.capture.agents import DrqCritic
from tests.probe.checkpoints.agents import drawn

HERE = "tests.probe.checkpoints.test_state_action"
RANDOM = np.random.default_rng(0)


class Critics(nn.Module):
    """Two critics; takes the action first."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2)
        )

    def forward(self, act: Tensor, obs: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        pair = torch.cat([obs, scale * act], dim=1)
        return self.one(pair), self.two(pair)


class Agent(nn.Module):
    """An actor beside its critic."""

    def __init__(self) -> None:
        super().__init__()
        self.torso, self.actor, self.q = nn.Linear(3, 6), nn.Linear(6, 2), nn.Linear(8, 1)

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.torso(observations))
        return self.actor(hidden), self.q(torch.cat([hidden, actions], dim=1))


class Gated(nn.Module):
    """Runs with actions of its own width and, by broadcasting, with one number."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        return (torch.relu(self.fc(x)) * a).sum(1)


class Recurrent(nn.Module):
    """Two inputs, neither of which is an action."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        return torch.relu(self.fc(x)) + hidden


def saved(folder: Path, network: nn.Module, **said: Any) -> Checkpoint:
    torch.save(network.state_dict(), folder / "step_5.pt")
    home = type(network).__module__
    return open_checkpoint(folder / "step_5.pt", Hints(model=f"{home}:{type(network).__name__}", **said))


def recorded(folder: Path, observations: Any, actions: Any = None) -> ObservationSet:
    columns = {} if actions is None else {"actions": actions}
    np.savez(folder / "o.npz", observations=observations, **columns)
    return open_observations(folder / "o.npz")


def test_actions_of_the_set_reach_critics_in_the_order_of_their_forward(tmp_path: Path) -> None:
    network = drawn(Critics, 0)
    checkpoint = saved(tmp_path, network)
    states, actions = RANDOM.normal(size=(20, 3)).astype("f"), RANDOM.normal(size=(20, 2)).astype("f")
    data = recorded(tmp_path, states, actions)
    for samples in (20, 7):
        rows = np.arange(samples) * 20 // samples
        given = torch.cat(list(network_inputs(checkpoint, data, 4, samples)))
        ours = checkpoint.network()(given)
        theirs = network(torch.from_numpy(actions[rows]), torch.from_numpy(states[rows]))
        assert list(ours) == ["critic0", "critic1"]
        assert torch.equal(ours["critic0"], theirs[0]) and torch.equal(ours["critic1"], theirs[1])
    assert checkpoint.modules.names == ("critic",) and checkpoint.modules.module_of("one.1") == "critic"
    assert checkpoint.notes((3,)) == ("its network of state and action is given the set's actions, as they are",)


def test_a_copy_made_before_observations_were_known_runs_on_them(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, drawn(Critics, 0))
    network = copy.deepcopy(checkpoint.network())
    given = checkpoint.with_actions(torch.ones(4, 3), torch.ones(4, 2))
    assert torch.equal(network(given)["critic0"], drawn(Critics, 0)(torch.ones(4, 2), torch.ones(4, 3))[0])
    with pytest.raises(ShapeError, match=r"a state and an action; it was given \(3,\)"):
        network(torch.ones(4, 3))


def test_images_and_actions_reach_a_critic_of_drqv2s_shape(tmp_path: Path) -> None:
    network = drawn(DrqCritic, 1)
    checkpoint = saved(tmp_path, network)
    images = torch.randint(0, 256, (6, 21, 21, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    actions = torch.rand(6, 2) * 2 - 1
    given = checkpoint.with_actions(images, actions)
    assert given.shape == (6, 21 * 21 * 9 + 2)
    ours, theirs = checkpoint.network()(given), network(images.permute(0, 3, 1, 2).float(), actions)
    assert torch.equal(ours["critic0"], theirs[0]) and torch.equal(ours["critic1"], theirs[1])
    assert [checkpoint.modules.module_of(layer) for layer in ("encoder.convnet.1", "Q1.1")] == ["encoder", "critic"]
    assert blank_input(checkpoint, recorded(tmp_path, images.numpy(), actions.numpy())).shape == (1, 3971)


def test_an_agent_with_an_actor_keeps_its_outputs_and_modules(tmp_path: Path) -> None:
    network = drawn(Agent, 0)
    checkpoint = saved(tmp_path, network)
    states, actions = torch.randn(4, 3), torch.randn(4, 2)
    actor, values = checkpoint.network()(checkpoint.with_actions(states, actions))
    assert torch.equal(actor, network(states, actions)[0]) and torch.equal(values, network(states, actions)[1])
    assert checkpoint.modules.names == ("encoder", "actor", "critic")
    assert checkpoint.modules.module_of("torso") == "encoder"


def test_states_are_normalised_and_actions_are_not(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, drawn(Critics, 0), mean=np.ones(3), variance=np.full(3, 4.0))
    given = checkpoint.with_actions(torch.full((1, 3), 5.0), torch.full((1, 2), 5.0))
    scaled = Normalisation(np.ones(3), np.full(3, 4.0), "").apply(torch.full((1, 3), 5.0))
    assert torch.equal(given, torch.cat([scaled, torch.full((1, 2), 5.0)], dim=1))


def test_the_width_of_actions_is_the_sets_own(tmp_path: Path) -> None:
    network = drawn(Gated, 0)
    checkpoint = saved(tmp_path, network)
    for width in (1, 4):
        states, actions = torch.randn(2, 3), torch.randn(2, width)
        ours = checkpoint.network()(checkpoint.with_actions(states, actions))
        assert torch.equal(ours["critic"], network(states, actions))


STATES = RANDOM.normal(size=(20, 3))
REFUSED = {
    "no actions": (STATES, None, "holds no actions. Continuous actions are expected"),
    "discrete actions": (STATES, RANDOM.integers(0, 3, 20), r"holds actions of int64 \(\)"),
    "other actions": (
        STATES,
        RANDOM.normal(size=(20, 4)),
        r"with actions of 4: .* takes 5 features, the set has 3 with",
    ),
    "other states": (RANDOM.normal(size=(20, 9)), RANDOM.normal(size=(20, 2)), "the set has 9 with actions of 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sets_that_do_not_fit_are_refused_before_anything_is_measured(tmp_path: Path, case: str) -> None:
    states, actions, words = REFUSED[case]
    checkpoint, data = saved(tmp_path, drawn(Critics, 0)), recorded(tmp_path, states, actions)
    with pytest.raises(ShapeError, match=words):
        analyze(checkpoint.path, data.path, out=tmp_path / "a.h5", hints=Hints(model=f"{HERE}:Critics"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["o.npz", "step_5.pt"]


def compiled() -> Any:
    return torch.compile(Critics())


def distributed() -> nn.Module:
    return nn.DataParallel(Critics())


@pytest.mark.parametrize("factory", [compiled, distributed])
def test_what_compiles_or_distributes_a_critic_is_taken_off(tmp_path: Path, factory: Callable[[], nn.Module]) -> None:
    network = drawn(Critics, 0)
    torch.save({f"module._orig_mod.{n}": each for n, each in network.state_dict().items()}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt", Hints(model=f"{HERE}:{factory.__name__}"))
    states, actions = torch.randn(4, 3), torch.randn(4, 2)
    ours = checkpoint.network()(checkpoint.with_actions(states, actions))
    assert torch.equal(ours["critic0"], network(actions, states)[0])


def test_an_exported_critic_is_given_the_actions_too(tmp_path: Path) -> None:
    network, batch = drawn(Critics, 0), torch.export.Dim("batch")
    example = (torch.zeros(2, 2), torch.zeros(2, 3))
    program = torch.export.export(network, example, dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(program, tmp_path / "step_5.pt2")
    checkpoint = open_checkpoint(tmp_path / "step_5.pt2", Hints(trust_pickle=True))
    states, actions = torch.randn(4, 3), torch.randn(4, 2)
    ours = checkpoint.network()(checkpoint.with_actions(states, actions))
    assert torch.equal(ours["critic0"], network(actions, states)[0])
    assert checkpoint.modules.names == ("critic",)


def test_a_lone_critic_cannot_act(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, drawn(Critics, 0))
    assert checkpoint.observation_shape is None
    with pytest.raises(ShapeError, match=r"so it cannot act\. It can be measured on sets that hold actions"):
        checkpoint.prepare(torch.zeros(1, 3))


def test_another_second_input_is_named(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, drawn(Recurrent, 0))
    with pytest.raises(ShapeError, match=r"Its forward takes \(x, hidden\)"):
        checkpoint.prepare(torch.zeros(1, 3))


@pytest.mark.parametrize("copied", ["critic_target", "critic_old", "target.critic", "slow_critic"])
def test_a_target_network_is_not_taken_for_the_one_that_learns(tmp_path: Path, copied: str) -> None:
    learns, follows = drawn(Critics, 0), drawn(Critics, 1)
    both = {copied: follows, "critic": learns}  # the copy stands first
    torch.save(
        {f"{at}.{n}": each for at, net in both.items() for n, each in net.state_dict().items()}, tmp_path / "a.pt"
    )
    checkpoint = open_checkpoint(tmp_path / "a.pt", Hints(model=f"{HERE}:Critics"))
    assert torch.equal(checkpoint.network().get_parameter("one.0.weight"), learns.get_parameter("one.0.weight"))
    assert f"critic.*, {copied}.* fit the network alike: critic.* is taken" in checkpoint.notes()


def test_of_several_parts_that_fit_the_first_is_taken_and_that_is_said(tmp_path: Path) -> None:
    first, second = drawn(Critics, 0), drawn(Critics, 1)
    torch.save((nn.Linear(3, 2).state_dict(), first.state_dict(), second.state_dict()), tmp_path / "td3_5.pt")
    checkpoint = open_checkpoint(tmp_path / "td3_5.pt", Hints(model=f"{HERE}:Critics"))
    assert torch.equal(checkpoint.network().get_parameter("one.0.weight"), first.get_parameter("one.0.weight"))
    assert "1.*, 2.* fit the network alike: 1.* is taken" in checkpoint.notes()
