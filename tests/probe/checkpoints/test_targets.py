"""Copies that follow the network that learns: which names say so, and that they are left out of what is inferred."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from probe.checkpoints import open_checkpoint
from probe.checkpoints.targets import is_target, without_targets
from tests.probe.checkpoints.agents import drawn
from tests.probe.checkpoints.outputs import captured


class Net(nn.Sequential):
    def __init__(self, actions: int = 2) -> None:
        super().__init__(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, actions))


def held(**networks: nn.Module) -> dict[str, Tensor]:
    return {f"{at}.{name}": each for at, net in networks.items() for name, each in net.state_dict().items()}


@pytest.mark.parametrize(
    "path",
    ["target_network", "q_target", "critic_targ", "critic1_old", "a.target.b", "slow_critic", "qf1_target1", "ema"],
)
def test_names_of_target_networks(path: str) -> None:
    assert is_target(f"{path}.0")


@pytest.mark.parametrize("path", ["q_network", "fold", "hold_head", "scheme", "actor", "critic1", "threshold"])
def test_names_of_others(path: str) -> None:
    assert not is_target(f"{path}.0")


def test_a_target_network_is_no_part_of_what_the_shapes_tell(tmp_path: Path) -> None:
    learns = drawn(Net, 0)
    torch.save(held(target_network=drawn(Net, 1), q_network=learns), tmp_path / "step_5.pt")
    checkpoint, batch = open_checkpoint(tmp_path / "step_5.pt"), torch.randn(6, 4)
    hidden = torch.relu(learns[0](batch)).detach()
    assert [torch.equal(each, hidden) for each in captured(checkpoint, batch).values()] == [True]
    assert checkpoint.modules.names == ("critic",)
    assert checkpoint.notes()[0] == "target networks are left out: target_network"


def test_what_has_no_counterpart_stays() -> None:
    for tensors in (
        held(target_net=Net()),
        held(target_net=Net(3), q=Net()),
        held(q_target=Net(), other=nn.Linear(4, 8)),
    ):
        assert without_targets(tensors) == (tensors, [])
