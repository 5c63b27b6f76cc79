"""`probe analyze`."""

import json
from pathlib import Path

import h5py
import pytest

from tests.commands.invoke import Invoke
from tests.probe.series import write_observations, write_series


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    return write_series(folder / "run"), write_observations(folder / "observations.h5")


def test_it_ends_with_a_table_and_a_sentence(probe: Invoke, files: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = probe("analyze", files[0], "--data", files[1], "--out", tmp_path / "a.h5")
    assert outcome.code == 0
    for words in ("cart / baseline / seed 0", "step 0", "step 200", "Dead units", "Effective rank", "pp"):
        assert words in outcome.out
    assert "Dead units rose from" in outcome.out.replace("\n", " ")
    assert "encoder.relu" not in outcome.out, "raw layer ids are for files, people get labels"


def test_json_is_alone_on_standard_output(probe: Invoke, files: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = probe("analyze", files[0], "--data", files[1], "--out", tmp_path / "a.h5", "--json")
    printed = json.loads(outcome.out)
    (series,) = printed["series"]
    dead = next(line for line in series["lines"] if line["metric"] == "dead_fraction")
    assert dead["steps"] == [0, 100, 200] and dead["values"][2] > dead["values"][0]
    assert "3/3 checkpoints" in outcome.error


def test_a_second_run_measures_nothing_and_says_so(probe: Invoke, files: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("analyze", files[0], "--data", files[1], "--out", tmp_path / "a.h5")
    probe(*arguments)
    outcome = probe(*arguments, "--set", "dormancy.thresholds=0.3")
    assert "Nothing new to measure" in outcome.error and "3/3" not in outcome.error
    with h5py.File(tmp_path / "a.h5") as file:
        assert 0.3 in file["rows"]["threshold"]


def test_a_declared_nonlinearity_is_analyzed(probe: Invoke, files: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("analyze", files[0], "--data", files[1], "--out", tmp_path / "a.h5")
    outcome = probe(*arguments, "--activation", "encoder.dense1=other", "--activation", "torch.clamp=relu")
    assert outcome.code == 0
    with h5py.File(tmp_path / "a.h5") as file:
        assert {b"encoder.dense1", b"encoder.relu1", b"encoder.relu2"} <= set(file["rows"]["layer"])
    refused = probe(*arguments)
    assert refused.code == 2 and "made with --activation encoder.dense1=other" in refused.error


def test_few_samples_are_warned_of_and_are_no_error(probe: Invoke, files: tuple[Path, Path], tmp_path: Path) -> None:
    few = write_observations(tmp_path / "few.h5", samples=10)
    outcome = probe("analyze", files[0], "--data", few, "--out", tmp_path / "a.h5")
    assert outcome.code == 0 and "10 samples for 16 units" in outcome.error


def test_the_price_of_costly_probes_comes_before_they_start(
    probe: Invoke, files: tuple[Path, Path], tmp_path: Path
) -> None:
    cheap = ("--set", "fitting.steps=2", "--set", "fitting.precision=float32")
    outcome = probe("analyze", files[0], "--data", files[1], "--out", tmp_path / "a.h5", "--probe", "fitting", *cheap)
    price, progress = outcome.error.index("Probes that cost more"), outcome.error.index("Examining checkpoints")
    assert price < outcome.error.index("fitting, fresh control") < progress
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file["probes"]["parameters"][0])["precision"] == "float32"


def wrong_files(folder: Path, data: Path) -> None:
    (folder / "empty.h5").write_bytes(b"")
    (folder / "cut.h5").write_bytes(data.read_bytes()[:2000])
    (folder / "text.h5").write_text("not HDF5")
    (folder / "nothing").mkdir()


# What stands after `probe analyze` (RUN and DATA are whole, other names are in a new folder), and words of the message.
BAD_INPUT = {
    "no series": ("none --data DATA --out a.h5", "there is no such file"),
    "a folder without checkpoints": ("nothing --data DATA --out a.h5", "no checkpoint"),
    "no data": ("RUN --data none.h5 --out a.h5", "none.h5"),
    "empty data": ("RUN --data empty.h5 --out a.h5", "empty.h5"),
    "truncated data": ("RUN --data cut.h5 --out a.h5", "cut.h5"),
    "foreign data": ("RUN --data text.h5 --out a.h5", "text.h5"),
    "a run as data": ("RUN --data RUN --out a.h5", "run"),
    "data as series": ("DATA --data DATA --out a.h5", "a checkpoint"),
    "unknown probe": ("RUN --data DATA --out a.h5 --probe dormnacy", "Did you mean: dormancy?"),
    "unknown parameter": ("RUN --data DATA --out a.h5 --set dormancy.tresholds=0", "Did you mean: thresholds?"),
    "no number": ("RUN --data DATA --out a.h5 --set dormancy.thresholds=low", "a number is expected"),
    "no precision": ("RUN --data DATA --out a.h5 --probe fitting --set fitting.precision=half", "float32 or bfloat16"),
    "an endless loop": (
        "RUN --data DATA --out a.h5 --probe curvature --set curvature.iterations=0",
        "curvature.iterations is 0; a whole number of at least 1 is expected",
    ),
    "a fraction of a step": (
        "RUN --data DATA --out a.h5 --probe fitting --set fitting.steps=2.5",
        "fitting.steps is 2.5; a whole number of at least 1 is expected",
    ),
    "not a setting": ("RUN --data DATA --out a.h5 --set dormancy", "not of the form"),
    "bad range": ("RUN --data DATA --out a.h5 --steps 5M", "no range"),
    "no checkpoint there": ("RUN --data DATA --out a.h5 --steps 5M:6M", "no checkpoint in steps"),
    "no declaration": ("RUN --data DATA --out a.h5 --activation clamp", "not of the form NAME=FUNCTION"),
    "unknown nonlinearity": ("RUN --data DATA --out a.h5 --activation torch.clamp=rleu", "Did you mean: relu?"),
    "no such function": ("RUN --data DATA --out a.h5 --activation torch.clmap=relu", "no function 'torch.clmap'"),
    "no such module": ("RUN --data DATA --out a.h5 --activation encoder.act=relu", "no module has such a path"),
    "no worker": ("RUN --data DATA --out a.h5 --workers 0", "--workers"),
    "no sample": ("RUN --data DATA --out a.h5 --samples 0", "samples"),
    "a file where a folder should be": ("RUN --data DATA --out text.h5/a.h5", "cannot be written"),
    "a foreign file in the way": ("RUN --data DATA --out text.h5", "text.h5"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_a_message_and_leaves_nothing(
    probe: Invoke, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    line, words = BAD_INPUT[case]
    wrong_files(tmp_path, files[1])
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    outcome = probe("analyze", *line.replace("RUN", str(files[0])).replace("DATA", str(files[1])).split())
    assert outcome.code == 2
    assert words in outcome.error and "Traceback" not in outcome.error
    assert outcome.error.startswith("Error: ") and outcome.error.count("\n") <= 2
    assert sorted(tmp_path.rglob("*")) == before
