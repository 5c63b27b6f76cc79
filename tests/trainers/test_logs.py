from pathlib import Path

import pytest

from probe.errors import FileError
from probe.trainers.logs import COUNTERS, METRICS, Logs

COLUMNS = ("return/train", "loss/value", "speed/steps_per_second")


def counters(step: int) -> dict[str, int]:
    return dict(zip(COUNTERS, (step, 2 * step, step // 8, 0), strict=True))


def filled(folder: Path, steps: range, sizes: dict[str, int] | None = None) -> dict[str, int]:
    logs = Logs(folder, COLUMNS, sizes)
    for step in steps:
        values = {"return/train": None if step % 2 else step / 3, "loss/value": 0.5, "speed/steps_per_second": 9.0}
        logs.write(counters(step), values)
    sizes = logs.sizes()
    logs.close()
    return sizes


def test_a_value_that_is_not_there_is_an_empty_cell_and_no_event(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 4))
    assert (tmp_path / METRICS).read_text().splitlines() == [
        "step,frames,updates,task,return/train,loss/value,speed/steps_per_second",
        "1,2,0,0,,0.5,9",
        "2,4,0,0,0.6666667,0.5,9",
        "3,6,0,0,,0.5,9",
    ]


def test_tensorboard_reads_the_same_values(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    filled(tmp_path, range(1, 6))
    reader = event_accumulator.EventAccumulator(str(tmp_path))
    reader.Reload()
    assert sorted(reader.Tags()["scalars"]) == sorted(COLUMNS)
    assert [(event.step, event.value) for event in reader.Scalars("return/train")] == [
        (2, pytest.approx(2 / 3)),
        (4, pytest.approx(4 / 3)),
    ]


def test_continuing_cuts_both_files_back_to_the_byte(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    filled(tmp_path / "a", range(1, 7))
    sizes = filled(tmp_path / "b", range(1, 4))
    filled(tmp_path / "b", range(4, 6), sizes)
    with (tmp_path / "b" / METRICS).open("a") as file:
        file.write("9,1")  # a row that a killed process did not finish
    filled(tmp_path / "b", range(4, 7), sizes)
    assert (tmp_path / "a" / METRICS).read_text() == (tmp_path / "b" / METRICS).read_text()
    (first,), (second,) = ((tmp_path / name).glob("events*") for name in "ab")
    assert first.stat().st_size == second.stat().st_size


def test_a_log_shorter_than_it_was_is_refused(tmp_path: Path) -> None:
    sizes = filled(tmp_path, range(1, 4))
    (tmp_path / METRICS).write_text("step\n")
    with pytest.raises(FileError, match="the file has fewer"):
        Logs(tmp_path, COLUMNS, sizes)


def test_other_columns_than_before_are_refused(tmp_path: Path) -> None:
    sizes = filled(tmp_path, range(1, 4))
    with pytest.raises(FileError, match="columns are not those of this version"):
        Logs(tmp_path, (*COLUMNS, "new/column"), sizes)


def test_a_metric_without_a_column_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="return/tset"):
        Logs(tmp_path, COLUMNS).write(counters(1), {"return/tset": 1.0})


def test_a_full_disk_is_reported_once_and_the_logs_can_be_closed(tmp_path: Path) -> None:
    (tmp_path / METRICS).symlink_to("/dev/full")
    with pytest.raises(FileError, match="No space left on device"):
        Logs(tmp_path, COLUMNS)
