"""Methods on value learning: each acts, resumes exactly, and leaves the target network where it belongs."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from probe.errors import ConfigurationError
from probe.networks import Network
from probe.trainers.dqn import Dqn
from probe.trainers.mitigations import make_mitigation, registry
from probe.trainers.state import load_state, save_state
from tests.trainers.mitigations.test_every_method import EARLY, IMAGES, MISSING, SHIFTED, same
from tests.trainers.runs import DQN, DQN_ATARI, configuration

POLICIES = {"entropy"}
"""Methods that only a policy can have."""
METHODS = [name for name in registry() if name not in {"baseline", *IMAGES, *MISSING, *POLICIES}]
SHIFT = ("environment.shift.kind=permute-actions", "environment.shift.at=[1]")
ATARI = pytest.mark.skipif(importlib.util.find_spec("ale_py") is None, reason="ale-py is not installed")


def made(folder: Path, method: str, *settings: str, like: str = "", toml: str = DQN, seed: int = 0) -> Dqn:
    """Makes an agent with a method, in the environment that suits the method `like`."""
    shifts = SHIFT if (like or method) in SHIFTED else ()
    chosen = configuration(*shifts, *EARLY.get(method, ()), *settings, toml=toml, folder=folder)
    return Dqn(chosen, make_mitigation(method, chosen.mitigation), seed, "cpu", "float32")


def values(network: Network, observations: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.eval()(observations)["critic"]
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_method_changes_what_is_learnt_and_resumes_exactly(tmp_path: Path, method: str) -> None:
    plain, whole = made(tmp_path, "baseline", like=method), made(tmp_path, method)
    whole.replay.store_in(tmp_path / "whole")
    for _ in range(2):
        plain.iterate()
        whole.iterate()
    left, right = plain.network.state_dict(), whole.network.state_dict()
    shared = [name for name in left if name in right and left[name].shape == right[name].shape]
    assert any(not torch.equal(left[name], right[name]) for name in shared)
    assert all(tensor.isfinite().all() for tensor in right.values())
    save_state(tmp_path / "state", whole.get_state())
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    resumed = made(tmp_path, method, seed=1)
    resumed.replay.store_in(tmp_path / "resumed")
    # CartPole cannot save its episodes: both start new ones. What a method forgets to save, only the first still has.
    for trainer in (whole, resumed):
        trainer.set_state(load_state(tmp_path / "state"))
        trainer.iterate()
    assert same(whole.get_state(), resumed.get_state())


def test_an_entropy_bonus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs settings of algorithm 'ppo'"):
        made(tmp_path, "entropy")


def test_an_injection_leaves_both_networks_outputs_and_gives_both_the_same_copies(tmp_path: Path) -> None:
    trainer = made(tmp_path, "injection", "mitigation.injection.steps=[64]", "dqn.target_period=1000")
    trainer.iterate()
    inputs = trainer.observations(16)
    networks, learning = (trainer.network, trainer.target), len(list(trainer.network.parameters()))
    size = sum(parameter.numel() for parameter in trainer.network.parameters() if parameter.requires_grad)
    before: dict[int, Tensor] = {}
    injected = type(trainer.network).inject

    def watched(network: Network, *arguments: object) -> None:
        before[id(network)] = values(network, inputs)
        injected(network, *arguments)  # type: ignore[arg-type]
        assert torch.equal(values(network, inputs), before[id(network)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "inject", watched)
        trainer.iterate()
    assert len(before) == 2 and not torch.equal(*before.values()), "the target network lagged behind and still does"
    own, copied = (dict(network.named_parameters()) for network in networks)
    assert own.keys() == copied.keys() and len(own) > learning
    for name in own:
        assert not copied[name].requires_grad
        if name.startswith(("encoder.dense2", "critic")) or ".subtracted." in name:
            assert torch.equal(own[name], copied[name])
    assert sum(p.numel() for p in trainer.network.parameters() if p.requires_grad) == size
    trainer.synchronise()
    assert torch.equal(*(values(network, inputs) for network in networks))
    trainer.iterate()


@pytest.mark.parametrize(
    ("method", "changed"),
    [("reset-final", ("critic",)), ("reset-all", ("encoder", "critic")), ("shrink-perturb", ("encoder", "critic"))],
)
def test_a_reset_takes_the_target_network_along(tmp_path: Path, method: str, changed: tuple[str, ...]) -> None:
    trainer = made(tmp_path, method, "dqn.target_period=1000")
    trainer.iterate()
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer._begin_update()
    for name, tensor in trainer.network.state_dict().items():
        assert torch.equal(tensor, trainer.target.state_dict()[name])
        assert torch.equal(tensor, before[name]) == (not name.startswith(changed))


def test_recycled_units_are_measured_on_the_replay_and_the_target_network_keeps_its_own(tmp_path: Path) -> None:
    settings = ("mitigation.redo.unit=optimizer-steps", "mitigation.redo.period=2", "dqn.target_period=1000")
    trainer = made(tmp_path, "redo", *settings)
    with torch.no_grad():
        trainer.network.get_submodule("encoder.dense2").get_parameter("bias")[:3] = -1e6
    start = {name: tensor.clone() for name, tensor in trainer.target.state_dict().items()}
    assert (trainer.iterate()["mitigation/redo_units"] or 0) >= 3
    assert (trainer.network.get_submodule("encoder.dense2").get_parameter("bias")[:3] > -1).all()
    assert all(torch.equal(tensor, start[name]) for name, tensor in trainer.target.state_dict().items())


@ATARI
def test_the_nature_network_is_cut_before_its_hidden_head(tmp_path: Path) -> None:
    trainer = made(tmp_path, "injection", "mitigation.injection.steps=[16]", toml=DQN_ATARI)
    assert [stage.name for stage in trainer.network.spec.modules["encoder"].stages][-1] == "flatten"
    trainer.iterate()
    assert trainer.network.spec.injections[0].cut == "critic.dense"
    assert trainer.interventions[0]["step"] == 16
    frozen = {name.split(".", 3)[-1] for name, _ in trainer.network.get_submodule("frozen").named_parameters()}
    assert frozen == {"dense.weight", "dense.bias", "output.weight", "output.bias"}


@ATARI
def test_pairs_halve_the_hidden_head_and_leave_its_outputs(tmp_path: Path) -> None:
    trainer = made(tmp_path, "crelu", "network.hidden=32", toml=DQN_ATARI)
    shapes = {name: tuple(p.shape) for name, p in trainer.network.named_parameters() if name.endswith("weight")}
    assert shapes["critic.dense.weight"] == (16, 3136) and shapes["critic.output.weight"] == (8, 32)
    assert shapes["encoder.conv2.weight"] == (32, 32, 4, 4)


@ATARI
def test_random_shifts_move_what_follows_too(tmp_path: Path) -> None:
    trainer = made(tmp_path, "augment", "dqn.learning_starts=1000", toml=DQN_ATARI)
    trainer.iterate()
    drawn = trainer.replay.sample(8, 1, 0.9, torch.Generator().manual_seed(0))
    batch = trainer.mitigation.batch(drawn, torch.Generator().manual_seed(0))
    for name in ("observations", "next_observations"):
        moved = getattr(batch, name) != getattr(drawn, name)
        assert moved.flatten(1).any(dim=1).sum() >= 6
    assert torch.equal(batch.actions, drawn.actions)
