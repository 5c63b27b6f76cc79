import hashlib
import os
import shutil
import tracemalloc
from pathlib import Path
from time import sleep

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.datasets.store import write_observations
from probe.errors import ConfigurationError, FileError, UnknownNameError
from probe.observations import ObservationSet, open_observations

ATTRIBUTES = {
    "environment": "procgen:coinrun",
    "specification": '{"id": "procgen:coinrun"}',
    "frame_stack": 1,
    "policy": "random",
    "kind": "pooled",
    "seed": 3,
    "task": 2,
    "stride": 8,
    "gamma": 0.99,
}


def columns(rows):
    return {
        "actions": np.asarray(rows, np.int64) % 15,
        "rewards": np.asarray(rows, np.float32) / 2,
        "episodes": np.asarray(rows, np.int64) // 10,
        "environments": np.asarray(rows, np.int64) % 4,
        "episode_starts": np.asarray(rows) % 10 == 0,
        "levels": np.asarray(rows, np.int32),
    }


def write(path, samples, vectors=False, shape=(4, 4, 3), seed=0):
    """Writes a set of random observations and returns them."""
    rng = np.random.default_rng(seed)
    if vectors:
        observations = rng.normal(size=(samples, 5)).astype(np.float32)
    else:
        observations = rng.integers(0, 256, (samples, *shape), dtype=np.uint8)
    with write_observations(path, samples, observations[0], columns(range(1)), ATTRIBUTES) as writer:
        for first in range(0, samples, 7):
            rows = range(first, min(first + 7, samples))
            writer.append(observations[rows.start : rows.stop], columns(rows))
        writer.set_returns(np.arange(samples // 2), np.arange(samples // 2) * 0.5)
    return observations


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "set.h5"
    return path, write(path, 150)


def gathered(observations, *arguments):
    return torch.cat(list(observations.batches(*arguments))).numpy()


@pytest.mark.parametrize("samples", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("vectors", [False, True])
def test_what_was_written_is_read(tmp_path, samples, vectors):
    written = write(tmp_path / "set.h5", samples, vectors)
    observations = open_observations(tmp_path / "set.h5")
    read = gathered(observations, 50)
    np.testing.assert_array_equal(read, written)
    assert read.dtype == written.dtype
    assert (observations.samples, observations.observation_shape) == (samples, written.shape[1:])
    assert observations.verify()


def test_attributes_are_plain_values(stored):
    observations = open_observations(stored[0])
    assert (observations.kind, observations.task) == ("pooled", 2)
    assert observations.attributes["specification"] == {"id": "procgen:coinrun"}
    assert observations.attributes["versions"]["numpy"] == np.__version__
    assert all(type(value) in (str, int, float, bool, dict) for value in observations.attributes.values())


def test_the_digest_is_the_sha256_of_the_bytes(stored):
    path, written = stored
    assert open_observations(path).digest == hashlib.sha256(written.tobytes()).hexdigest()


def test_columns_come_back_with_null_returns_where_none_were_set(stored):
    observations = open_observations(stored[0])
    for name, expected in columns(range(150)).items():
        found = observations.column(name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    returns = observations.column("returns")
    assert returns[:75].tolist() == (np.arange(75) * 0.5).tolist() and np.isnan(returns[75:]).all()


def test_an_unknown_column_is_named(stored):
    with pytest.raises(UnknownNameError, match="Did you mean: rewards"):
        open_observations(stored[0]).column("reward")


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 170), samples=st.none() | st.integers(1, 170))
def test_any_batch_size_gives_the_same_rows_in_order(tmp_path_factory, batch, samples):
    path = Path(tmp_path_factory.getbasetemp()) / "any_batch.h5"
    if not path.exists():
        write(path, 150)
    observations = open_observations(path)
    everything = gathered(observations, 150)
    batches = list(observations.batches(batch, samples))
    count = min(samples or 150, 150)
    np.testing.assert_array_equal(torch.cat(batches).numpy(), everything[np.arange(count) * 150 // count])
    assert [len(each) for each in batches] == [batch] * (count // batch) + [count % batch] * (count % batch > 0)


def test_fewer_samples_are_evenly_spread_by_hand(tmp_path):
    written = write(tmp_path / "set.h5", 10)
    read = gathered(open_observations(tmp_path / "set.h5"), 2, 4)
    np.testing.assert_array_equal(read, written[[0, 2, 5, 7]])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((64, 64, 3), 256), ((84, 84, 4), 148), ((224, 224, 3), 27), ((2100, 2100, 3), 1), ((9,), 256)],
)
def test_large_observations_pass_fewer_at_a_time(tmp_path, shape, expected):
    assert ObservationSet(tmp_path, 1000, shape, {}).pass_size == expected


def test_batches_do_not_share_memory(stored):
    first, second, *_ = open_observations(stored[0]).batches(32)
    copy = second.clone()
    first.zero_()
    assert torch.equal(second, copy)


@pytest.mark.parametrize("arguments", [(0,), (-1,), (4, 0)])
def test_impossible_sizes_are_refused(stored, arguments):
    with pytest.raises(ConfigurationError, match="1 or more"):
        list(open_observations(stored[0]).batches(*arguments))


LAYOUTS = {
    "other chunks": {"chunks": (10, 2, 4, 3), "compression": "gzip"},
    "contiguous": {},
    "lzf": {"chunks": (16, 4, 4, 3), "compression": "lzf"},
    "shuffled": {"chunks": (16, 4, 4, 3), "compression": "gzip", "shuffle": True},
    "checksums": {"chunks": (16, 4, 4, 3), "compression": "gzip", "fletcher32": True},
    "larger chunks": {"chunks": (100, 4, 4, 3), "compression": "gzip", "compression_opts": 9},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_set_that_others_stored_anew_reads_the_same(stored, layout):
    path, written = stored
    with h5py.File(path, "r+") as file:
        del file["observations"]
        file.create_dataset("observations", data=written, **layout)
    observations = open_observations(path)
    np.testing.assert_array_equal(gathered(observations, 33), written)
    assert observations.verify()


def test_our_layout_is_plain_gzip_in_chunks_of_64_frames(stored):
    with h5py.File(stored[0]) as file:
        dataset = file["observations"]
        assert (dataset.chunks, dataset.compression, dataset.compression_opts) == ((64, 4, 4, 3), "gzip", 1)
        np.testing.assert_array_equal(dataset[:], stored[1])


def test_a_reader_that_stops_early_leaves_no_thread_and_no_open_file(stored):
    batches = open_observations(stored[0]).batches(8)
    next(batches)
    batches.close()
    with h5py.File(stored[0], "r+"):
        pass


def test_memory_does_not_grow_with_the_set(tmp_path):
    peaks = []
    for samples in (2_000, 8_000):
        path = tmp_path / f"{samples}.h5"
        write(path, samples, shape=(16, 16, 3))
        observations = open_observations(path)
        tracemalloc.start()
        for _ in observations.batches(64):
            sleep(0.005)  # so that as much as may be is read ahead in both; else that is chance on a busy machine
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < 8_000 * 16 * 16 * 3 / 3


def damage(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replaced(name, data):
    def change(file):
        del file[name]
        file[name] = data

    return change


def external(file):
    shutil.copy(file.filename, file.filename + ".other")
    del file["observations"]
    file["observations"] = h5py.ExternalLink(file.filename + ".other", "observations")


def external_storage(file):
    del file["observations"]
    file.create_dataset("observations", (150, 4, 4, 3), "u1", external=[("/etc/hostname", 0, 150 * 48)])


def virtual(file):
    del file["observations"]
    layout = h5py.VirtualLayout((150, 4, 4, 3), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "observations", (150, 4, 4, 3))
    file.create_virtual_dataset("observations", layout)


DAMAGES = {
    "foreign": (lambda file: file.attrs.modify("format", "of another tool"), "no observation set"),
    "another version": (lambda file: file.attrs.modify("format_version", 99), "version 1 is expected, the file has 99"),
    "incomplete": (lambda file: file.attrs.modify("complete", False), "not written to its end"),
    "no end": (lambda file: file.attrs.pop("complete"), "not written to its end"),
    "no kind": (lambda file: file.attrs.pop("kind"), "kind"),
    "no json": (lambda file: file.attrs.modify("specification", "{"), "damaged"),
    "no observations": (lambda file: file.pop("observations"), "observations"),
    "a group": (lambda file: (file.pop("rewards"), file.create_group("rewards")), "rewards"),
    "no rewards": (lambda file: file.pop("rewards"), "rewards"),
    "short column": (replaced("rewards", np.zeros(9, np.float32)), "rewards"),
    "words": (replaced("actions", np.array([b"left"] * 150)), "actions"),
    "a scalar": (replaced("returns", 3.0), "damaged|returns"),
    "wrong dtype": (replaced("observations", np.zeros((150, 4, 4, 3), np.int16)), "int16"),
    "wrong shape": (replaced("observations", np.zeros((150, 16), np.uint8)), "uint8"),
    "empty": (replaced("observations", np.zeros((150, 0, 4, 3), np.uint8)), r"\(150, 0, 4, 3\)"),
    "external link": (external, "in another file"),
    "external storage": (external_storage, "in another file"),
    "virtual": (virtual, "in another file"),
    "soft link": (lambda file: (file.pop("levels"), file.__setitem__("levels", h5py.SoftLink("/x"))), "levels"),
}


@pytest.mark.parametrize(("change", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_not_as_it_should_be_is_refused(stored, change, words):
    damage(stored[0], change)
    with pytest.raises(FileError, match=words) as caught:
        open_observations(stored[0])
    assert str(stored[0]) in str(caught.value) and "ollect" in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        open_observations(tmp_path / "none.h5")
    with pytest.raises(FileError, match="a folder"):
        open_observations(tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 100, 2_000, -10])
def test_a_truncated_file_is_refused(stored, kept):
    whole = stored[0].read_bytes()
    stored[0].write_bytes(whole[:kept])
    with pytest.raises(FileError, match="not a whole HDF5 file"):
        open_observations(stored[0])


def test_an_unreadable_file_is_refused(stored):
    stored[0].write_text("observations: many")
    with pytest.raises(FileError, match="not a whole HDF5 file"):
        open_observations(stored[0])


def flip_a_byte_of_the_frames(path):
    with h5py.File(path) as file:
        offset = file["observations"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 0xFF
    path.write_bytes(content)


def test_damaged_frames_are_found_when_read_and_when_verified(stored):
    flip_a_byte_of_the_frames(stored[0])
    observations = open_observations(stored[0])
    assert not observations.verify()
    with pytest.raises(FileError, match=r"damaged from row 64"):
        gathered(observations, 32)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["observations"].__setitem__((3, 0, 0, 0), 7),
        lambda file: file["returns"].__setitem__(0, 9.0),
        lambda file: file.attrs.modify("task", 1),
        lambda file: file.attrs.modify("gamma", 0.5),
    ],
)
def test_verify_finds_any_change(stored, change):
    assert open_observations(stored[0]).verify()
    damage(stored[0], change)
    assert not open_observations(stored[0]).verify()


def test_a_file_without_read_permission_is_refused(stored):
    stored[0].chmod(0)
    if os.access(stored[0], os.R_OK):
        pytest.skip("this user reads everything")
    with pytest.raises(FileError):
        open_observations(stored[0])
