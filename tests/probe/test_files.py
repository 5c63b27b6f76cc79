"""A file appears whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from probe.errors import FileError
from probe.files import replace_on_success, tensor_digest


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_text("old")
    with pytest.raises(ValueError), replace_on_success(path) as partial:
        partial.write_text("half")
        raise ValueError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_write_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result"
    with replace_on_success(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"), replace_on_success(tmp_path / "file" / "inside"):
        pass


def test_a_full_disk_is_named() -> None:
    with pytest.raises(FileError, match="No space left"), replace_on_success(Path("/tmp/full")):
        Path("/dev/full").write_text("x" * 100_000)


def test_the_digest_sees_names_types_shapes_bytes_and_metadata() -> None:
    base = {"a": np.arange(6.0)}
    variants = [
        tensor_digest(base, {"k": "v"}),
        tensor_digest({"b": np.arange(6.0)}, {"k": "v"}),
        tensor_digest({"a": np.arange(6.0).reshape(2, 3)}, {"k": "v"}),
        tensor_digest({"a": np.arange(6.0, dtype=np.float32)}, {"k": "v"}),
        tensor_digest({"a": np.arange(6.0) + 1}, {"k": "v"}),
        tensor_digest(base, {"k": "w"}),
    ]
    assert len(set(variants)) == len(variants)
    assert tensor_digest({"x": np.ones(2), "y": np.zeros(0)}, {}) == tensor_digest(
        {"y": np.zeros(0), "x": np.ones(2)}, {}
    )
