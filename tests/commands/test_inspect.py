"""`probe inspect`."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from probe.analysis import analyze
from probe.checkpoints.native import interventions
from probe.report import open_material, write_report
from probe.trainers.state import save_state
from tests.commands.invoke import Invoke
from tests.probe.series import write_observations, write_series


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_series(folder / "run")
    write_observations(folder / "observations.h5", samples=50)
    analyze(folder / "run", folder / "observations.h5", folder / "a.h5").close()
    write_report(open_material([folder / "a.h5"]), folder / "report", formats=["png", "html"], figures=["fau"])
    trained = {"step": 8, "frames": 16, "updates": 1, "task": 0, "network": {"weight": torch.zeros(2)}}
    save_state(folder / "state" / "step_000000008.safetensors", {"trainer": trained})
    return folder


@pytest.mark.parametrize(
    "name, kind",
    [
        ("run", "checkpoint series"),
        ("run/checkpoints", "checkpoint series"),
        ("run/checkpoints/step_000000100.safetensors", "checkpoint"),
        ("observations.h5", "observation set"),
        ("a.h5", "analysis"),
        ("report", "report"),
        ("state/step_000000008.safetensors", "resume state"),
    ],
)
def test_each_kind_of_file_is_told_and_is_whole(probe: Invoke, folder: Path, name: str, kind: str) -> None:
    outcome = probe("inspect", folder / name, "--verify", "--json")
    described = json.loads(outcome.out)
    assert outcome.code == 0
    assert described["kind"] == kind and described["whole"] and described["problems"] == []
    assert "every digest matches" in probe("inspect", folder / name, "--verify").out


def test_a_checkpoint_says_what_it_is_of(probe: Invoke, folder: Path) -> None:
    printed = probe("inspect", folder / "run/checkpoints/step_000000100.safetensors", "--json").out
    described = json.loads(printed)["facts"]
    assert (described["step"], described["run"], described["method"], described["network"]) == (
        100,
        "cart",
        "baseline",
        "mlp",
    )
    assert described["environment"] == "CartPole-v1" and described["modules"] == "encoder, actor, critic"


def test_a_checkpoint_says_which_modules_have_no_nonlinearity(probe: Invoke, folder: Path) -> None:
    printed = probe("inspect", folder / "run/checkpoints/step_000000100.safetensors", "--json").out
    found, missing = json.loads(printed)["facts"]["nonlinearities"].split("; ")
    assert found == "encoder: 2 relu"
    assert missing.startswith("none found in actor, critic ") and "--activation NAME=FUNCTION" in missing


def test_a_changed_byte_is_found_by_verify_alone(probe: Invoke, tmp_path: Path) -> None:
    path = write_series(tmp_path, (0,)) / "checkpoints" / "step_000000000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert probe("inspect", path).code == 0
    outcome = probe("inspect", path, "--verify")
    assert outcome.code == 2 and "does not match its digest" in outcome.error


def test_a_changed_observation_is_found(probe: Invoke, tmp_path: Path) -> None:
    path = write_observations(tmp_path / "o.h5", samples=20)
    with h5py.File(path, "r+") as file:
        changed = file["observations"][...]
        changed[3] += 1
        file["observations"][...] = changed
    assert probe("inspect", path, "--verify").code == 2


def test_a_reports_missing_and_changed_files_are_named(probe: Invoke, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "report", tmp_path / "report")
    (tmp_path / "report" / "figures" / "fau.png").unlink()
    with (tmp_path / "report" / "index.html").open("a") as page:
        page.write("edited")
    outcome = probe("inspect", tmp_path / "report")
    assert outcome.code == 2
    assert "fau.png: missing" in outcome.error and "index.html: changed since" in outcome.error


def test_a_missing_step_0_is_a_problem_because_there_is_no_baseline(probe: Invoke, tmp_path: Path) -> None:
    outcome = probe("inspect", write_series(tmp_path, (100, 200)))
    assert outcome.code == 2 and "no baseline" in outcome.error


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + b"\0" * 40])
@pytest.mark.parametrize("name", ["a.h5", "a.safetensors"])
def test_what_is_not_whole_is_refused(probe: Invoke, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = probe("inspect", tmp_path / name)
    assert outcome.code == 2 and name in outcome.error and "Traceback" not in outcome.error


def test_interventions_are_counted() -> None:
    done = [{"method": "redo", "step": step, "units": {"encoder.relu1": [1]}} for step in (1_024, 2_048)]
    assert interventions([]) == "none"
    assert interventions(done[:1]) == "redo at step 1,024"
    both = interventions([*done, {"method": "injection", "step": 3_072}])
    assert both == "redo 2 times, steps 1,024 to 2,048; injection at step 3,072"


def test_a_folder_of_images_is_an_observation_set(probe: Invoke, tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(np.full((30, 20, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
    outcome = probe("inspect", tmp_path, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0 and found["kind"] == "observation set"
    assert (found["facts"]["samples"], found["facts"]["observation shape"]) == (3, [30, 20, 3])
