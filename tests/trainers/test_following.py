"""Following a run by its folder."""

import subprocess
from pathlib import Path

import pytest

from probe.errors import FileError
from probe.trainers.following import RunFollower
from probe.trainers.lock import NAME, FolderLock, trains
from probe.trainers.run import TrainingRun
from tests.trainers.mitigations.agents import kill
from tests.trainers.runs import record, rows, train

MADE = ("monitor.every=64", "monitor.samples=32")


def test_a_run_is_followed_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with TrainingRun(path, record(*MADE, folder=tmp_path)) as run:
        follower = RunFollower(tmp_path)  # the one run below it
        first = follower.look()
        assert (first.state, first.step, first.total, first.layers) == ("training", 0, 384, ())
        assert first.steps_per_second is None and first.seconds_left is None
        for report in run:
            view = follower.look()
            assert (view.state, view.step) == ("training", report.step)
            if report.step == 128:
                kill(run.trainer.network, "encoder.dense2", 16)
    view = follower.look()
    assert (view.state, view.step, view.seconds_left) == ("finished", 384, None)
    last = rows(path)[-1]
    layers = {each.name: each for each in view.layers}
    assert list(layers) == ["encoder.dense1", "encoder.dense2"]
    assert layers["encoder.dense1"].fau == float(last["activation/fau/encoder.dense1"])
    assert layers["encoder.dense1"].dormant == float(last["activation/dormant_0.025/encoder.dense1"])
    assert layers["encoder.dense1"].collapsed_since is None and layers["encoder.dense2"].collapsed_since == 192
    assert view.actions == (float(last["actions/share_0"]), float(last["actions/share_1"]))
    assert view.test == float(last["return/test"])
    expected = [(int(row["step"]), float(row["return/train"])) for row in rows(path) if row["return/train"]]
    assert list(view.scores) == expected
    assert RunFollower(path).look() == view, "the whole file at once says the same"


def test_a_row_that_is_being_written_waits_and_one_that_was_cut_back_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(path, record(*MADE, folder=tmp_path))
    content = (path / "metrics.csv").read_bytes()
    lines = content.splitlines(keepends=True)
    (path / "metrics.csv").write_bytes(b"".join(lines[:4]) + lines[4][:30])
    follower = RunFollower(path)
    assert follower.look().step == 192
    (path / "metrics.csv").write_bytes(b"".join(lines[:5]) + lines[5][:7])
    assert follower.look().step == 256
    (path / "metrics.csv").write_bytes(b"".join(lines[:2]))  # resumed from an earlier state
    assert follower.look() == RunFollower(path).look()
    assert follower.look().step == 64
    (path / "metrics.csv").write_bytes(content)
    assert follower.look().step == 384


def test_spikes_are_those_of_the_last_ten_updates(tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(path, record(*MADE, "steps=64", folder=tmp_path))
    header, row = (path / "metrics.csv").read_text().splitlines()
    names = header.split(",")
    far = {64: "3.0", 128: "-12.5", 192: "40", 256: ""}
    for step, deviation in far.items():
        cells = dict(zip(names, row.split(","), strict=True)) | {"step": str(step), "spike/loss/value": deviation}
        far[step] = ",".join(cells.values())
    (path / "metrics.csv").write_text("\n".join([header, *far.values(), ""]))
    found = RunFollower(path).look().spikes
    assert [(each.metric, each.step, each.deviations) for each in found] == [
        ("loss/value", 128, -12.5),
        ("loss/value", 192, 40.0),
    ]
    late = far[256].replace("256", str(128 + 10 * 64), 1)
    with (path / "metrics.csv").open("a") as file:
        file.write(late + "\n")
    assert [each.step for each in RunFollower(path).look().spikes] == [192]


def test_a_process_that_is_gone_trains_nothing(tmp_path: Path) -> None:
    assert not trains(tmp_path)
    lock = FolderLock(tmp_path)
    assert trains(tmp_path)
    lock.release()
    assert not trains(tmp_path)
    (tmp_path / NAME).write_text("")
    assert trains(tmp_path), "its number is about to be written"
    child = subprocess.Popen(["true"])
    child.wait()
    (tmp_path / NAME).write_text(f"{child.pid}\n")
    assert not trains(tmp_path)


def test_a_killed_run_has_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), TrainingRun(tmp_path / "run", record(*MADE, folder=tmp_path)) as run:
        next(iter(run))
        raise KeyboardInterrupt
    view = RunFollower(tmp_path / "run").look()
    assert (view.state, view.step) == ("stopped", 64)


def test_what_is_no_run_or_several_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no run here, there is no run\.toml"):
        RunFollower(tmp_path)
    for name in ("a", "b"):
        train(tmp_path / name, record("steps=64", folder=tmp_path))
    with pytest.raises(FileError, match="there are 2 runs here"):
        RunFollower(tmp_path)
