"""The native checkpoint series."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from probe.checkpoints import open_checkpoint, open_series
from probe.checkpoints.native import CheckpointMetadata, NativeCheckpoint, checkpoint_name, save
from probe.errors import FileError, ShapeError
from probe.networks import Network, NetworkSpec, Stage, build, preset
from probe.networks.specification import with_options


def network_and_metadata(step: int = 0, seed: int = 0, width: int = 16) -> tuple[Network, CheckpointMetadata]:
    spec = preset("mlp", (4,), 2, width)
    network = build(spec, torch.Generator().manual_seed(seed))
    return network, metadata(spec, step, seed)


def metadata(spec: NetworkSpec, step: int = 0, seed: int = 0) -> CheckpointMetadata:
    return CheckpointMetadata(
        step=step,
        frames=4 * step,
        updates=step // 8,
        algorithm="ppo",
        network=spec,
        environment={"id": "CartPole-v1"},
        acting={"mode": "eval"},
        run="cart",
        method="baseline",
        seed=seed,
        task=0,
        versions={"torch": torch.__version__},
    )


def write(folder: Path, *steps: int, seed: int = 0) -> list[Path]:
    paths = []
    for step in steps:
        network, facts = network_and_metadata(step, seed)
        paths.append(folder / checkpoint_name(step))
        save(paths[-1], network, facts)
    return paths


def test_a_saved_network_computes_the_same_and_is_in_eval_mode(tmp_path: Path) -> None:
    network, facts = network_and_metadata()
    digest = save(tmp_path / "a.safetensors", network, facts)
    checkpoint = NativeCheckpoint(tmp_path / "a.safetensors")
    again = checkpoint.network()
    batch = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again(batch)["actor"], network(batch)["actor"])
    assert not again.training
    assert checkpoint.metadata == facts
    assert checkpoint.digest == digest and checkpoint.verify()


def test_buffers_are_saved_because_they_are_evidence(tmp_path: Path) -> None:
    def normalise(stage: Stage) -> Stage:
        return with_options(stage, {"spectral_norm": True}) if stage.kind == "linear" else stage

    spec = preset("mlp", (4,), 2, 8).map_stages(normalise, ("encoder",))
    network = build(spec, torch.Generator().manual_seed(3))
    save(tmp_path / "a.safetensors", network, metadata(spec))
    stored = load_file(tmp_path / "a.safetensors")
    assert torch.equal(
        stored["encoder.dense1.parametrizations.weight.0._u"],
        network.state_dict()["encoder.dense1.parametrizations.weight.0._u"],
    )
    assert set(stored) == set(network.state_dict())


def test_the_digest_depends_on_weights_and_metadata_and_on_nothing_else(tmp_path: Path) -> None:
    same = [save(tmp_path / name, *network_and_metadata()) for name in ("a.safetensors", "b.safetensors")]
    other_step = save(tmp_path / "c.safetensors", *network_and_metadata(step=8))
    other_weights = save(
        tmp_path / "d.safetensors",
        build(preset("mlp", (4,), 2, 16), torch.Generator().manual_seed(5)),
        network_and_metadata()[1],
    )
    assert same[0] == same[1]
    assert len({same[0], other_step, other_weights}) == 3


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not NativeCheckpoint(path).verify()


def test_fresh_is_newly_initialised_by_its_seed(tmp_path: Path) -> None:
    checkpoint = NativeCheckpoint(write(tmp_path, 0, seed=4)[0])
    weight = "encoder.dense1.weight"
    assert torch.equal(checkpoint.fresh(4).state_dict()[weight], checkpoint.network().state_dict()[weight])
    assert not torch.equal(checkpoint.fresh(5).state_dict()[weight], checkpoint.network().state_dict()[weight])


def test_observations_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    checkpoint = NativeCheckpoint(write(tmp_path, 0)[0])
    for batch in (torch.zeros(2, 5), torch.zeros(2, 4, dtype=torch.uint8)):
        with pytest.raises(ShapeError, match="Collect a set"):
            checkpoint.prepare(batch)


def test_a_series_is_in_step_order_whatever_the_argument(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    paths = write(folder, 1000, 0, 500)
    for given in ([tmp_path / "run"], [folder], [f"{folder}/*.safetensors"], paths):
        (series,) = open_series(given)
        assert [checkpoint.step for checkpoint in series.checkpoints] == [0, 500, 1000]
        assert (series.run, series.method, series.seed) == ("cart", "baseline", 0)


def test_several_folders_are_several_series(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / f"seed{seed}" / "checkpoints", 0, 8, seed=seed)
    assert [series.seed for series in open_series([tmp_path])] == [0, 1]


def test_two_checkpoints_of_one_step_are_an_error_that_names_both(tmp_path: Path) -> None:
    (first,) = write(tmp_path, 0)
    (tmp_path / "copy.safetensors").write_bytes(first.read_bytes())
    with pytest.raises(FileError, match=r"copy\.safetensors and step_000000000\.safetensors are both at step 0"):
        open_series([tmp_path])


@pytest.mark.parametrize("content", [b"", b"\x10", b"not safetensors at all", b"\xff" * 64])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"bad\.safetensors"):
        open_checkpoint(path)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="not a whole safetensors file"):
        open_checkpoint(path)


def test_newer_versions_are_refused(tmp_path: Path) -> None:
    newer = {"format": json.dumps("probe-checkpoint"), "format_version": "2"}
    save_file({"weight": torch.zeros(2)}, tmp_path / "newer.safetensors", newer)
    with pytest.raises(FileError, match="format 1 expected, the file has 2"):
        open_checkpoint(tmp_path / "newer.safetensors")


def test_tensors_that_do_not_fit_the_specification_are_named(tmp_path: Path) -> None:
    network, _ = network_and_metadata(width=8)
    save(tmp_path / "a.safetensors", network, network_and_metadata(width=16)[1])
    with pytest.raises(FileError, match="do not fit its own network specification"):
        open_checkpoint(tmp_path / "a.safetensors").network()


def test_nothing_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such file or folder"):
        open_series([tmp_path / "nowhere"])
    with pytest.raises(FileError, match="no checkpoint"):
        open_series([tmp_path])
