"""Networks that the user gives: the factory, its arguments, and how observations reach what it makes."""

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.checkpoints import Checkpoint, Hints, open_checkpoint
from probe.checkpoints.hints import parse_hints
from probe.errors import ConfigurationError, FileError, ShapeError, UnknownNameError
from tests.probe.checkpoints.agents import Flat, ImpalaAgent, MlpAgent, NatureAgent, Plain, Unscaled, drawn
from tests.probe.checkpoints.outputs import assert_same, captured, hooked

AGENTS = "tests.probe.checkpoints.agents"


def opened(tmp_path: Path, network: nn.Module, model: str, **said: Any) -> Checkpoint:
    torch.save(network.state_dict(), tmp_path / "step_5.pt")
    return open_checkpoint(tmp_path / "step_5.pt", Hints(model=f"{AGENTS}:{model}", **said))


def images(*shape: int) -> Tensor:
    return torch.randint(0, 256, (4, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_an_agent_without_forward_acts(tmp_path: Path) -> None:
    network, batch = drawn(NatureAgent, 0, actions=3), images(84, 84, 4)
    checkpoint = opened(tmp_path, network, "NatureAgent", model_args={"actions": 3})
    before = torch.random.get_rng_state()
    prepared = checkpoint.prepare(batch)
    outputs = checkpoint.network()(prepared)
    assert torch.equal(torch.random.get_rng_state(), before), "sampling an action leaves the global stream alone"
    features = network.features(prepared)
    assert torch.equal(outputs["actor"], network.actor(features))
    assert torch.equal(outputs["critic"], network.critic(features))
    assert_same(captured(checkpoint, batch), hooked(network, lambda: network.get_action_and_value(prepared)))
    copied = copy.deepcopy(checkpoint.network())
    assert torch.equal(copied(prepared)["actor"], outputs["actor"])


def test_images_reach_the_network_in_the_order_and_scale_it_takes(tmp_path: Path) -> None:
    first = opened(tmp_path, drawn(NatureAgent, 0), "NatureAgent")
    assert torch.equal(first.prepare(images(84, 84, 4)), images(84, 84, 4).permute(0, 3, 1, 2).float())
    last = opened(tmp_path, drawn(ImpalaAgent, 0), "ImpalaAgent")
    assert torch.equal(last.prepare(images(64, 64, 3)), images(64, 64, 3).float())
    unscaled = opened(tmp_path, drawn(Unscaled, 0), "Unscaled")
    assert torch.equal(unscaled.prepare(images(64, 64, 3)), images(64, 64, 3).permute(0, 3, 1, 2) / 255)
    assert unscaled.notes((64, 64, 3)) == ("the network does not scale its images: they are divided by 255 before it",)
    assert not first.notes((84, 84, 4)) and not last.notes((64, 64, 3))


def test_an_order_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"either order of axes.*--layout chw"):
        opened(tmp_path, drawn(Flat, 0), "Flat").prepare(images(4, 4, 3))
    given = opened(tmp_path, drawn(Flat, 0), "Flat", layout="chw")
    assert torch.equal(given.prepare(images(4, 4, 3)), images(4, 4, 3).permute(0, 3, 1, 2).float())


@pytest.mark.parametrize(
    "shape, words",
    [
        ((84, 84, 1), "a stack of 4 frames"),
        ((84, 84, 3), "takes 4 channels, the set has 3"),
        ((64, 64, 4), "height and width do not"),
        ((7,), "images of 4 channels, the set holds vectors"),
    ],
)
def test_observations_that_do_not_fit_are_explained(tmp_path: Path, shape: tuple[int, ...], words: str) -> None:
    checkpoint = opened(tmp_path, drawn(NatureAgent, 0), "NatureAgent")
    with pytest.raises(ShapeError, match=words):
        checkpoint.prepare(torch.zeros(1, *shape))


def test_a_file_is_a_model_and_stands_beside_its_own_modules(tmp_path: Path) -> None:
    (tmp_path / "parts_of_net.py").write_text("WIDTH = 16\n")
    (tmp_path / "net.py").write_text(
        f"from parts_of_net import WIDTH\nfrom {AGENTS} import Plain\n\n\ndef make(actions):\n"
        "    return Plain(4, WIDTH, actions)\n"
    )
    network, batch = drawn(Plain, 1), torch.randn(3, 4)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    path = list(sys.path)
    checkpoint = open_checkpoint(tmp_path / "a.pt", Hints(model=f"{tmp_path}/net.py:make", model_args={"actions": 2}))
    assert torch.equal(checkpoint.network()(checkpoint.prepare(batch)), network(batch))
    assert sys.path == path


def test_fresh_networks_are_drawn_by_the_factory(tmp_path: Path) -> None:
    checkpoint = opened(tmp_path, drawn(Plain, 0), "Plain")
    before = torch.random.get_rng_state()
    fresh = checkpoint.fresh(7)
    assert fresh is not None and torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), drawn(Plain, 7).parameters(), strict=True))


def test_vectors_are_normalised_as_the_agent_saw_them(tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", [1.0, 2.0, 3.0, 4.0])
    np.savez(tmp_path / "statistics.npz", obs_var=[4.0, 4.0, 1.0, 1.0], other=[0.0])
    hints = parse_hints(mean=tmp_path / "mean.npy", variance=tmp_path / "statistics.npz")
    torch.save(drawn(Plain, 0).state_dict(), tmp_path / "a.pt")
    prepared = open_checkpoint(tmp_path / "a.pt", hints).prepare(torch.tensor([[3.0, 0.0, 3.5, 400.0]]))
    assert torch.allclose(prepared, torch.tensor([[1.0, -1.0, 0.5, 10.0]]), atol=1e-6), "far values are clipped"
    for given in ({"mean": tmp_path / "mean.npy"}, {"modules": ["critic"]}, {"model_args": ["x"]}):
        with pytest.raises(ConfigurationError):
            parse_hints(**given)


BAD_MODELS = {
    "net": "not of the form package.module:factory",
    "nowhere.py:Net": "there is no such file",
    "no_such_package:Net": "importing it fails (ModuleNotFoundError",
    f"{AGENTS}:Plian": "has no class or function 'Plian'. Did you mean: Plain?",
    f"{AGENTS}:drawn": "fails (TypeError",
    "builtins:dict": "makes a dict, a torch.nn.Module is expected",
    "torch.nn:Identity": "does not fit torch.nn:Identity",
}


@pytest.mark.parametrize("model", BAD_MODELS)
def test_a_model_that_is_none_is_refused(tmp_path: Path, model: str) -> None:
    torch.save(drawn(Plain, 0).state_dict(), tmp_path / "a.pt")
    with pytest.raises((ConfigurationError, FileError)) as raised:
        open_checkpoint(tmp_path / "a.pt", Hints(model=model)).network()
    assert BAD_MODELS[model] in str(raised.value)


def test_a_class_without_any_way_to_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no `forward`, nor any of get_action_and_value"):
        torch.save({}, tmp_path / "a.pt")
        torch.save(drawn(Plain, 0).state_dict(), tmp_path / "a.pt")
        open_checkpoint(tmp_path / "a.pt", Hints(model="torch.nn:ModuleDict")).network()


def test_modules_are_guessed_from_names_and_given_by_the_user(tmp_path: Path) -> None:
    network = drawn(MlpAgent, 0)
    guessed = opened(tmp_path, network, "MlpAgent")
    assert [guessed.modules.module_of(layer) for layer in ("actor.1", "critic.3")] == ["actor", "critic"]
    hints = parse_hints(modules=["critic=actor*", "encoder=:relu*"])
    given = opened(tmp_path, network, "MlpAgent", modules=hints.modules)
    layers = ("actor.1", "critic.3", ":relu#2")
    assert [given.modules.module_of(layer) for layer in layers] == ["critic", "critic", "encoder"]


def test_an_unknown_layout_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean: chw"):
        parse_hints(layout="cwh")
