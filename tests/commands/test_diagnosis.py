"""The diagnosis at the end of `probe analyze`."""

import json
from pathlib import Path

import pytest

from tests.commands.invoke import Invoke
from tests.probe.series import write_observations, write_series


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observations(tmp_path_factory.mktemp("data") / "observations.h5")


def test_the_command_prints_the_diagnosis_and_json_has_all_of_it(tmp_path: Path, data: Path, probe: Invoke) -> None:
    run = write_series(tmp_path / "run", (0, 100, 200, 300))
    arguments = ("analyze", str(run), "--data", str(data), "--out", str(tmp_path / "a.h5"))
    printed = probe(*arguments)
    assert "Diagnosis of cart / baseline / seed 0 at step 300, against step 0" in printed.out
    assert "encoder: degrading" in printed.out
    (said,) = json.loads(probe(*arguments, "--json").out)["diagnosis"]
    assert said["state"] == "degrading"
    evidence = said["modules"][0]["evidence"][0]
    assert evidence["means"] and evidence["does_not_mean"] and evidence["text"] in printed.out


def test_thresholds_are_settings(tmp_path: Path, data: Path, probe: Invoke) -> None:
    run = write_series(tmp_path / "run", (0, 100, 200, 300))
    arguments = ("analyze", str(run), "--data", str(data), "--out", str(tmp_path / "a.h5"), "--json")
    strict = [f"--set=diagnosis.{name}=1" for name in ("units", "dormant", "activity", "rank")]
    (said,) = json.loads(probe(*arguments, *strict).out)["diagnosis"]
    assert said["state"] == "healthy"


def test_health_is_printed_with_its_evidence_and_json_has_it(tmp_path: Path, data: Path, probe: Invoke) -> None:
    run = write_series(tmp_path / "run", (0, 100, 200, 300))
    strict = [f"--set=diagnosis.{name}=1" for name in ("units", "dormant", "activity", "rank")]
    arguments = ("analyze", str(run), "--data", str(data), "--out", str(tmp_path / "a.h5"), *strict)
    printed = " ".join(probe(*arguments).out.split())
    assert "encoder: healthy no sign of loss at step 300 against step 0 (collapse, activity, dormancy, fau" in printed
    (said,) = json.loads(probe(*arguments, "--json").out)["diagnosis"]
    (encoder,) = said["modules"]
    assert all(line in printed for line in encoder["text"])
    dead = next(each for each in encoder["no_sign"] if each["metric"] == "dead_fraction")
    assert dead["last"] >= 6 / 16 and f"{100 * dead['first']:.1f} % to {100 * dead['last']:.1f} %" in printed


def test_a_layer_that_matches_nothing_is_refused_with_those_there_are(
    tmp_path: Path, data: Path, probe: Invoke
) -> None:
    run = write_series(tmp_path / "run", (0, 100))
    arguments = ("analyze", str(run), "--data", str(data), "--out", str(tmp_path / "a.h5"), "--layer")
    refused = probe(*arguments, "nope*")
    assert refused.code == 2 and "--layer nope* matches no layer. There are: encoder.relu1, enco" in refused.error
    assert not (tmp_path / "a.h5").exists()
    printed = probe(*arguments, "*relu1").out
    assert "healthy" not in printed and "encoder: not judged as a whole; layers not measured (--layer):" in printed
