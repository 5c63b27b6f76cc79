"""Networks that are inferred from the shapes of a plain state_dict."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from probe.checkpoints import Hints, open_checkpoint
from probe.checkpoints.chains import recognised
from probe.errors import FileError, UnknownNameError
from tests.probe.checkpoints.agents import ImpalaAgent, MlpAgent, Nature, NatureAgent, Plain, drawn
from tests.probe.checkpoints.outputs import assert_same, captured, hooked

IMAGES = torch.randint(0, 256, (5, 84, 84, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SMALL = torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
VECTORS = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def test_a_nature_q_network_is_the_one_that_was_saved(tmp_path: Path) -> None:
    network = drawn(Nature, 0)
    checkpoint = open_checkpoint(saved(network, tmp_path / "dqn_500.cleanrl_model"))
    theirs = hooked(network, lambda: network(IMAGES.permute(0, 3, 1, 2).float()))
    assert_same(captured(checkpoint, IMAGES), theirs)
    assert checkpoint.modules.names == ("encoder",) and checkpoint.step == 500


def test_heads_read_the_trunk(tmp_path: Path) -> None:
    network = drawn(NatureAgent, 1)
    checkpoint = open_checkpoint(saved(network, tmp_path / "agent.pt"))
    images = IMAGES.permute(0, 3, 1, 2).float()
    assert_same(captured(checkpoint, IMAGES), hooked(network, lambda: network.get_action_and_value(images)))
    ours = checkpoint.network()(checkpoint.prepare(IMAGES))
    hidden = network.features(images)
    assert torch.equal(ours["actor"], network.actor(hidden)) and torch.equal(ours["critic"], network.critic(hidden))


def test_impala_has_functional_rectifiers_in_its_blocks(tmp_path: Path) -> None:
    network = drawn(ImpalaAgent, 2)
    checkpoint = open_checkpoint(saved(network, tmp_path / "agent.pt"))
    given = open_checkpoint(tmp_path / "agent.pt", Hints(model="tests.probe.checkpoints.agents:ImpalaAgent"))
    ours, own = captured(checkpoint, SMALL), captured(given, SMALL)
    assert len(ours) == 14 and "network.0.res_block0:relu#2" in ours
    assert set(ours) == set(own) and all(torch.allclose(ours[name], own[name], atol=1e-6) for name in own)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_separate_actors_and_critics_have_tanh(tmp_path: Path, suffix: str) -> None:
    network, path = drawn(MlpAgent, 3), tmp_path / f"step_7{suffix}"
    if suffix == ".pt":
        saved(network, path)
    else:
        save_file(network.state_dict(), path)
    checkpoint = open_checkpoint(path)
    theirs = hooked(network, lambda: network.get_action_and_value(VECTORS))
    ours = captured(checkpoint, VECTORS)
    assert set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any("tanh" in note and "activation=NAME" in note for note in checkpoint.notes((4,)))


def test_layers_without_numbers_in_a_list_are_followed_by_relu(tmp_path: Path) -> None:
    network = drawn(Plain, 4)
    checkpoint = open_checkpoint(saved(network, tmp_path / "a.pt"))
    first = torch.relu(network.fc1(VECTORS))
    assert_same(captured(checkpoint, VECTORS), {"fc1_relu": first, "fc2_relu": torch.relu(network.fc2(first))})


def test_another_activation_is_said(tmp_path: Path) -> None:
    path = saved(drawn(Plain, 4), tmp_path / "a.pt")
    assert list(captured(open_checkpoint(path, Hints(model_args={"activation": "gelu"})), VECTORS)) == [
        "fc1_gelu",
        "fc2_gelu",
    ]
    for arguments, words in (({"activation": "rleu"}, "Did you mean: relu"), ({"hidden": 3}, "activation")):
        with pytest.raises(UnknownNameError, match=words):
            open_checkpoint(path, Hints(model_args=arguments)).network()


def layers(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {f"{path}.weight": torch.zeros(shape) for path, shape in shapes.items()}


@pytest.mark.parametrize(
    "tensors",
    [
        layers(a=(8, 4), b=(3, 9)),  # b reads nothing that is there
        layers(q1=(8, 5)) | {"norm.weight": torch.zeros(8)},
        layers(conv=(8, 3, 5, 5), head=(2, 8)),
        {"lstm.weight_ih_l0": torch.zeros(16, 4)},
        layers(trunk=(4, 4), head=(2, 4)),  # the head may read the trunk or the observations
    ],
)
def test_other_shapes_tell_nothing(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    assert recognised(tensors) is None
    torch.save(tensors, tmp_path / "a.pt")
    with pytest.raises(FileError, match=r"tell no MLP, Nature DQN or IMPALA network. Give the network with --model"):
        open_checkpoint(tmp_path / "a.pt").network()
