"""Observations that other tools recorded: what becomes of them, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from probe.arrays import NDArray
from probe.errors import FileError, UnknownNameError
from probe.observations import open_observations
from tests.probe.series import write_observations

Array = NDArray[Any]
PIXELS = np.random.default_rng(0).integers(0, 256, (130, 20, 24, 3), dtype=np.uint8)
VECTORS = np.random.default_rng(1).normal(size=(130, 4))


def rows(path: Path, batch_size: int = 50) -> Array:
    return torch.cat(list(open_observations(path).batches(batch_size))).numpy()


def npy(path: Path, array: Array) -> Path:
    np.save(path / "a.npy", array)
    return path / "a.npy"


def npz(path: Path, array: Array) -> Path:
    np.savez(path / "a.npz", observations=array, rewards=np.zeros(len(array)))
    return path / "a.npz"


def d4rl(path: Path, array: Array) -> Path:
    with h5py.File(path / "a.hdf5", "w") as file:
        file.create_dataset("observations", data=array, compression="gzip")
        file.create_dataset("actions", data=np.zeros((len(array), 2)))
    return path / "a.hdf5"


def minari(path: Path, array: Array) -> Path:
    with h5py.File(path / "main_data.hdf5", "w") as file:
        # Twelve episodes: text order would put episode_10 before episode_2.
        for index, part in enumerate(np.array_split(array, 12)):
            file.create_dataset(f"episode_{index}/observations", data=part)
    return path / "main_data.hdf5"


@pytest.mark.parametrize("write", [npy, npz, d4rl, minari])
@pytest.mark.parametrize("array", [PIXELS, VECTORS], ids=["images", "vectors"])
def test_every_format_gives_the_rows_in_order(tmp_path: Path, write: Callable[..., Path], array: Array) -> None:
    path = write(tmp_path, array)
    stored = array if array.dtype == np.uint8 else array.astype(np.float32)
    observations = open_observations(path)
    assert np.array_equal(rows(path), stored) and observations.observation_shape == array.shape[1:]
    few = torch.cat(list(observations.batches(7, samples=13))).numpy()
    assert np.array_equal(few, stored[np.arange(13) * 130 // 13])
    assert not observations.notes and observations.samples == 130


def test_the_digest_is_that_of_the_same_rows_in_a_set_of_ours(tmp_path: Path) -> None:
    ours = open_observations(write_observations(tmp_path / "o.h5", samples=30))
    assert open_observations(npy(tmp_path, rows(tmp_path / "o.h5"))).digest == ours.digest


def test_other_actions_make_another_set(tmp_path: Path) -> None:
    digests = set()
    for scale in (1.0, 2.0):
        np.savez(tmp_path / "a.npz", observations=VECTORS, actions=scale * VECTORS[:, :2])
        digests.add(open_observations(tmp_path / "a.npz").digest)
    assert len(digests | {open_observations(npy(tmp_path, VECTORS)).digest}) == 3


def test_a_folder_of_images_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for index, each in enumerate(PIXELS[:5]):
        image.fromarray(each).save(tmp_path / f"frame_{index:03d}.png")
    assert np.array_equal(rows(tmp_path), PIXELS[:5])
    image.fromarray(PIXELS[0][:10]).save(tmp_path / "frame_003.png")
    with pytest.raises(FileError, match=r"frame_003\.png: an image of \(10, 24, 3\) beside one of \(20, 24, 3\)"):
        rows(tmp_path)


@pytest.mark.parametrize(
    "array, wanted, words",
    [
        (PIXELS.transpose(0, 3, 1, 2), PIXELS, "channels first (3, 20, 24): they are transposed"),
        (PIXELS / np.float32(255), PIXELS, "in [0, 1]: they are multiplied by 255"),
        (PIXELS.astype(np.float32), PIXELS, "float32 in [0, 255]: they are taken to be pixels"),
        (PIXELS[..., 0], PIXELS[..., :1], "have no channels (20, 24): they are taken to be grey"),
    ],
    ids=["channels first", "scaled", "floats", "grey"],
)
def test_another_layout_is_named(tmp_path: Path, array: Array, wanted: Array, words: str) -> None:
    path = npy(tmp_path, array)
    assert np.array_equal(rows(path), wanted)
    assert words in "; ".join(open_observations(path).notes)


@pytest.mark.parametrize(
    "array, words",
    [
        (PIXELS[:, :3], "which axis of (3, 24, 3) is the channels cannot be told"),
        (PIXELS[:, None].repeat(4, 1), "Stacked frames go into the channels"),
        (PIXELS / 255.0 - 0.5, "values from -0.5 to 0.5; pixels"),
        (PIXELS / 300.0, "no pixels of 0 to 255"),
        (np.where(np.arange(4) == 2, np.nan, VECTORS), "not finite"),
        (VECTORS[:, 0], "(sample, ...) is expected"),
        (np.array([[{}]]), "no plain array of numbers"),
        (VECTORS[:0], "(sample, ...) is expected"),
    ],
    ids=["which axis", "stack", "normalised", "no pixels", "nan", "scalars", "objects", "empty"],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, array: Array, words: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(FileError) as raised:
        rows(tmp_path / "a.npy")
    assert words in str(raised.value)


def test_actions_are_a_column_and_returns_are_unknown(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", observations=VECTORS, actions=np.arange(130))
    observations = open_observations(tmp_path / "a.npz")
    assert observations.column("actions")[7] == 7 and np.isnan(observations.column("returns")).all()
    with pytest.raises(UnknownNameError):
        observations.column("levels")


def test_actions_of_an_hdf5_file_are_a_column_where_each_observation_has_one(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        file["observations"], file["actions"] = VECTORS, VECTORS[:, :2]
    np.testing.assert_array_equal(open_observations(tmp_path / "d4rl.hdf5").column("actions"), VECTORS[:, :2])
    with h5py.File(tmp_path / "some.hdf5", "w") as file:
        file["episode_0/observations"], file["episode_0/actions"] = VECTORS, VECTORS[:-3]
    with pytest.raises(UnknownNameError):
        open_observations(tmp_path / "some.hdf5").column("actions")


def test_of_minaris_episodes_the_observations_are_taken_that_have_an_action(tmp_path: Path) -> None:
    ends = (70, 71, 130)  # the second episode has one observation, and nothing was done in it
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        for index, (first, end) in enumerate(zip((0, *ends), ends, strict=False)):
            file[f"episode_{index}/observations"] = VECTORS[first:end]
            file[f"episode_{index}/actions"] = VECTORS[first : end - 1, :2]
    observations = open_observations(tmp_path / "main_data.hdf5")
    acted = np.delete(VECTORS, [end - 1 for end in ends], axis=0)
    assert np.array_equal(rows(tmp_path / "main_data.hdf5"), acted.astype(np.float32))
    np.testing.assert_array_equal(observations.column("actions"), acted[:, :2])
    assert observations.samples == 127
    assert observations.notes == ("each episode's last observation is left out: nothing was done there",)


def recursive(file: Any) -> None:
    file["episode_0/again"] = file["episode_0"]


def external(file: Any) -> None:
    file["episode_0/other"] = h5py.ExternalLink("other.h5", "/observations")


def soft(file: Any) -> None:
    file["observations"] = h5py.SoftLink("/episode_0")


def bomb(file: Any) -> None:
    # Chunks that were never written read as zeros: no bytes, and terabytes of observations.
    file.create_dataset("observations", (10**9, 64, 64, 3), np.uint8, chunks=(1, 64, 64, 3), compression="gzip")


def huge_chunk(file: Any) -> None:
    file.create_dataset("observations", (1 << 16, 1 << 16), np.uint8, chunks=(1 << 15, 1 << 15))


def several_inputs(file: Any) -> None:
    file["episode_1/observations/image"] = np.zeros((5, 3))


HOSTILE = {
    recursive: "holds itself",
    external: "leads elsewhere",
    soft: "leads elsewhere",
    bomb: "unpack to",
    huge_chunk: "unpack to",
    several_inputs: "several inputs",
}


@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_hdf5_files_are_refused(tmp_path: Path, make: Callable[[Any], None]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["episode_0/observations"] = np.zeros((5, 4), np.float32)
        make(file)
    with pytest.raises(FileError, match=HOSTILE[make]):
        open_observations(tmp_path / "a.h5")


def test_a_set_of_ours_with_a_detour_is_refused(tmp_path: Path) -> None:
    path = write_observations(tmp_path / "o.h5", samples=20)
    with h5py.File(path, "r+") as file:
        file.create_group("loop")["again"] = file["/"]
    with pytest.raises(FileError, match="holds itself"):
        open_observations(path)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(FileError, match="no observation set"):
        open_observations(tmp_path / "a.h5")
