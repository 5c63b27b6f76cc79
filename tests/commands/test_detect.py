"""`probe detect` from the command line: what is printed and kept, and what is refused."""

import json
from pathlib import Path

import pytest

from tests.commands.invoke import Invoke
from tests.probe.series import write_observations, write_series
from tests.trainers.detect.forks import contents, run

SMALL = ("--budget", 64, "--fit-steps", 2, "--workers", 1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("run"))


def test_a_detection_is_printed_kept_and_not_run_again(probe: Invoke, path: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "detect.h5", contents(path)
    arguments = ("detect", path, "--at", 64, *SMALL, "--seeds", "0,1", "--out", out)
    first = probe(*arguments)
    assert first.code == 0, first.error
    assert "critic, from encoder.dense2 on. 2 pairs of 64 steps, compared with moment-reset" in first.out
    assert "more seeds would be needed" in first.out or "no evidence" in first.out
    assert "Continuing the run: 384/384 steps" in first.error
    again = probe(*arguments, "--json")
    assert "every arm is in the analysis already" in again.error
    (found,) = json.loads(again.out)["detections"]
    assert (found["step"], found["module"], found["pairs"]) == (64, "critic", 2)
    assert len(found["arms"]["injected"]["td_error_average_loss"]["differences"]) == 2
    assert contents(path) == before
    report = probe("report", out, "--out", tmp_path / "report", "--figure", "detection", "--format", "html")
    assert report.code == 0 and "Plasticity injection" in (tmp_path / "report" / "index.html").read_text()


def test_without_a_state_it_is_said_what_that_means(probe: Invoke, path: Path, tmp_path: Path) -> None:
    told = probe("detect", path, "--at", 0, *SMALL, "--seeds", 0, "--out", tmp_path / "detect.h5")
    assert told.code == 0 and "control and moment-reset are one arm" in told.error
    assert "compared with control" in told.out


def test_offline_any_series_is_fitted(probe: Invoke, tmp_path: Path) -> None:
    series = write_series(tmp_path / "series")
    data = write_observations(tmp_path / "observations.h5", samples=64)
    out = tmp_path / "offline.h5"
    arguments = ("detect", "--offline", series, "--data", data, "--seeds", "0-1", "--fit-steps", 4, "--at", 200)
    found = probe(*arguments, "--workers", 1, "--out", out)
    assert found.code == 0, found.error
    assert "cart / baseline / seed 0" in found.out and "undecided" in found.out
    (line,) = json.loads(probe(*arguments, "--workers", 1, "--out", out, "--json").out)["checkpoints"]
    assert (line["step"], line["verdict"], line["words"]) == (200, None, "undecided")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "7"], "neither a resume state nor a checkpoint at step 7"),
        ([], "RUN --at STEP[,STEP]"),
        (["--at", "64", "--inject", "actor"], "Choose --inject critic"),
        (["--at", "64", "--cut", "critic.output"], "what runs from there on is linear"),
        (["--at", "64", "--arm", "frsh"], "Did you mean: fresh"),
        (["--at", "64", "--seeds", "0-20"], "at most 20"),
        (["--at", "64", "--data", "o.h5"], "--data is for --offline"),
        (["--offline"], "--offline needs observations"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_written(
    probe: Invoke, path: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    before = contents(path)
    found = probe("detect", path, *arguments, "--out", tmp_path / "detect.h5")
    assert found.code == 2
    assert message in found.error and "Traceback" not in found.error
    assert list(tmp_path.iterdir()) == [] and contents(path) == before
