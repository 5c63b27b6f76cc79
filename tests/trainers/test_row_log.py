"""Rows in files: what is added is read, a resumed log goes on where it was, and a damaged one says so."""

from pathlib import Path

import numpy as np
import pytest

from probe.errors import FileError
from probe.trainers.row_log import RowLog

ROW = np.dtype([("frame", np.uint8, (2, 3)), ("reward", np.float32, (2,))])


def row(number: int) -> np.ndarray:
    made = np.zeros((), ROW)
    made["frame"] = [[number, 1, 1], [100 + number, 2, 2]]
    made["reward"] = [number, -number]
    return made


def log(folder: Path | None = None, rows: int = 0) -> RowLog:
    made = RowLog(ROW, rows_per_file=4)
    if folder is not None:
        made.store_in(folder)
    for number in range(rows):
        made.append(row(number))
    return made


def numbers(made: RowLog, *wanted: int) -> list[float]:
    rows = np.array(wanted, np.int64)
    return made.read("reward", rows, np.zeros_like(rows)).tolist()


@pytest.mark.parametrize("in_files", [True, False])
def test_entries_are_read_from_several_files_in_the_order_asked_for(tmp_path: Path, in_files: bool) -> None:
    made = log(tmp_path if in_files else None, rows=10)
    rows, columns = np.array([[9, 0], [5, 9]]), np.array([[0, 1], [1, 1]])
    np.testing.assert_array_equal(made.read("reward", rows, columns), [[9, 0], [-5, -9]])
    frames = made.read("frame", rows, columns)
    np.testing.assert_array_equal(frames[..., 0], [[9, 100], [105, 109]])
    assert frames.shape == (2, 2, 3) and frames.dtype == np.uint8


def test_a_log_takes_up_where_its_state_was_taken_and_writes_later_rows_again(tmp_path: Path) -> None:
    first = log(tmp_path, rows=6)
    state = first.get_state(0)
    for number in range(6, 11):
        first.append(row(number))
    resumed = log(tmp_path)
    resumed.set_state(state)
    assert resumed.written == 6 and numbers(resumed, 0, 3, 4, 5) == [0, 3, 4, 5]
    for number in range(6, 11):
        resumed.append(row(number))
    assert resumed.get_state(0) == first.get_state(0)
    assert numbers(resumed, *range(11)) == list(range(11))


def test_a_state_is_small_and_names_every_file(tmp_path: Path) -> None:
    state = log(tmp_path, rows=9).get_state(0)
    assert state["written"] == 9 and list(state["digests"]) == ["0", "1", "2"]
    assert log(tmp_path / "other", rows=9).get_state(0) == state
    assert sorted(path.name for path in tmp_path.glob("*.bin")) == [f"rows_00000{k}.bin" for k in range(3)]


def test_only_files_that_nothing_needs_are_dropped(tmp_path: Path) -> None:
    made = log(tmp_path, rows=18)
    made.keep([range(9, 12), range(17, 18)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows_000002.bin", "rows_000004.bin"]
    assert numbers(made, 8, 11, 16) == [8, 11, 16]
    resumed = log(tmp_path)
    resumed.set_state(made.get_state(since=16))
    resumed.append(row(18))
    assert numbers(resumed, 17, 18) == [17, 18]
    resumed.keep([range(12, 19)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows_000004.bin"], "also files that it does not map"


def test_a_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    state = log(tmp_path, rows=6).get_state(0)
    path = tmp_path / "rows_000001.bin"
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"rows_000001\.bin: not the rows"):
        log(tmp_path).set_state(state)
    path.unlink()
    with pytest.raises(FileError, match="cannot be read"):
        log(tmp_path).set_state(state)


def test_bytes_beyond_the_rows_of_a_state_do_not_count(tmp_path: Path) -> None:
    state = log(tmp_path, rows=6).get_state(0)
    path = tmp_path / "rows_000001.bin"
    path.write_bytes(path.read_bytes()[: 2 * ROW.itemsize] + b"\x07" * 2 * ROW.itemsize)
    resumed = log(tmp_path)
    resumed.set_state(state)
    assert numbers(resumed, 4, 5) == [4, 5]
