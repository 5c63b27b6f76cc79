"""Lightning, the Hugging Face Hub, TorchScript and torch.export, as their own libraries write them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.checkpoints import Hints, open_checkpoint, open_series
from probe.errors import FileError
from tests.probe.checkpoints.agents import MlpAgent, Plain, drawn
from tests.probe.checkpoints.outputs import assert_same, captured, hooked

PLAIN = "tests.probe.checkpoints.agents:Plain"
BATCH = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def test_lightnings_own_folder_is_a_series(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    code = Path(__file__).with_name("lightning_run.py")
    subprocess.run([sys.executable, code, tmp_path], check=True, capture_output=True)
    (series,) = open_series([tmp_path / "lightning_logs"], Hints(model=f"{code}:Module"))
    assert [each.step for each in series.checkpoints] == [2, 4, 6, 8, 10]
    assert series.checkpoints[0].description["format"] == "lightning"
    assert series.checkpoints[0].notes()[-1].startswith("last.ckpt is left out")
    last = series.checkpoints[-1]
    assert last.network().get_parameter("net.fc1.weight").shape == (24, 4), "its own hyperparameters made it"
    bare = open_checkpoint(last.path, Hints(model=PLAIN, model_args={"hidden": 24}))
    ours, own = captured(bare, BATCH), captured(last, BATCH)
    assert [torch.equal(a, b) for a, b in zip(ours.values(), own.values(), strict=True)] == [True, True]


def test_folders_of_the_hub_are_checkpoints(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")

    class Published(Plain, hub.PyTorchModelHubMixin):  # type: ignore[misc,name-defined]
        """A network that is pushed to the Hub."""

    for step in (100, 20):
        drawn(Published, step, hidden=24).save_pretrained(tmp_path / f"checkpoint-{step}")
    (series,) = open_series([tmp_path], Hints(model=PLAIN))
    assert [each.step for each in series.checkpoints] == [20, 100]
    first = open_checkpoint(tmp_path / "checkpoint-20", Hints(model=PLAIN))
    assert torch.equal(first.network()(BATCH), drawn(Plain, 20, hidden=24)(BATCH)), "config.json says the width"


def test_shards_of_the_hub_lie_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    with pytest.raises(FileError, match=r"names \.\./\.\./etc/passwd; files beside it are expected"):
        open_checkpoint(tmp_path)


def test_torchscript_gives_its_tensors_on_the_users_word(tmp_path: Path) -> None:
    network = drawn(Plain, 0)
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.trace(network, BATCH).save(str(tmp_path / "step_5.pt"))
    with pytest.raises(FileError, match="--trust-pickle"):
        open_checkpoint(tmp_path / "step_5.pt")
    checkpoint = open_checkpoint(tmp_path / "step_5.pt", Hints(model=PLAIN, trust_pickle=True))
    assert torch.equal(checkpoint.network()(BATCH), network(BATCH))


def test_an_exported_program_is_its_own_network_on_the_users_word(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    path = tmp_path / "step_5.pt2"
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    torch.export.save(torch.export.export(network, (BATCH,), dynamic_shapes=sizes), str(path))
    with pytest.raises(FileError, match="--trust-pickle"):
        open_checkpoint(path)
    checkpoint = open_checkpoint(path, Hints(trust_pickle=True))
    for batch in (BATCH, BATCH[:2]):
        theirs = hooked(network, lambda batch=batch: network(batch))
        assert_same(captured(checkpoint, batch), {"1:relu": theirs["1"]})


class Fixed(nn.Module):
    """Writes the size of its batch into its program, in the ways that scripts do."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        self.conv, self.head, self.broken = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 2), broken

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.conv(images))
        values: Tensor = self.head(torch.tanh(hidden.view(images.shape[0], -1)))
        return values + torch.arange(len(images)).unsqueeze(1) if self.broken else values


def exported(network: nn.Module, batch: Tensor, path: Path) -> Path:
    torch.export.save(torch.export.export(network.eval(), (batch,)), str(path))
    return path


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_program_exported_for_one_batch_size_runs_on_others(tmp_path: Path, size: int) -> None:
    network, images = drawn(Fixed, 0), torch.randint(0, 256, (7, 8, 8, 3), dtype=torch.uint8)
    path = exported(network, torch.zeros(size, 3, 8, 8), tmp_path / "step_5.pt2")
    ours = captured(open_checkpoint(path, Hints(trust_pickle=True)), images)
    hidden = F.relu(network.get_submodule("conv")(images.permute(0, 3, 1, 2) / 255))
    wanted = {":relu": hidden, ":tanh": torch.tanh(hidden.flatten(1))}
    assert_same(ours, {name: each.detach() for name, each in wanted.items()}, 1e-6)


def test_a_program_whose_batch_size_stands_in_its_numbers_is_refused(tmp_path: Path) -> None:
    path = exported(drawn(Fixed, 0, broken=True), torch.zeros(3, 3, 8, 8), tmp_path / "step_5.pt2")
    with pytest.raises(FileError, match=r"for batches of 3.*Export it with dynamic_shapes"):
        open_checkpoint(path, Hints(trust_pickle=True))


def test_a_whole_module_is_its_own_network_on_the_users_word(tmp_path: Path) -> None:
    network = drawn(MlpAgent, 0)
    torch.save(network, tmp_path / "step_5.pt")
    with pytest.raises(FileError, match=r"MlpAgent.*--trust-pickle"):
        open_checkpoint(tmp_path / "step_5.pt")
    checkpoint = open_checkpoint(tmp_path / "step_5.pt", Hints(trust_pickle=True))
    assert_same(captured(checkpoint, BATCH), hooked(network, lambda: network.get_action_and_value(BATCH)))
