import json
from pathlib import Path

import pytest

from probe.commands.frame import line
from probe.trainers.following import RunFollower
from probe.trainers.run import TrainingRun
from tests.commands.invoke import Invoke
from tests.trainers.mitigations.agents import kill
from tests.trainers.runs import record, train


def test_once_prints_a_frame_and_ends_with_the_run(tmp_path: Path, probe: Invoke) -> None:
    with TrainingRun(tmp_path / "run", record("monitor.every=64", folder=tmp_path)) as run:
        for report in run:
            if report.step == 64:
                kill(run.trainer.network, "encoder.dense2", 16)
            if report.step == 192:
                shown = probe("watch", tmp_path / "run", "--once")
                told = line(RunFollower(tmp_path / "run").look())
    assert shown.code == 0
    for words in ("run / baseline / seed 0  training", "step 192 of 384 (50.0%)", "steps/s", "left", "encoder.dense1"):
        assert words in shown.out
    assert "! encoder.dense2 has collapsed, first seen at step 128" in shown.out
    assert "░" * 20 + "   0.0 %" in shown.out and "\x1b" not in shown.out
    assert told.startswith("step 192 of 384 (50.0%)  ")
    assert told.endswith("dormant at most 100.0%  collapsed: encoder.dense2")
    ended = probe("watch", tmp_path / "run")  # no terminal, and nothing to wait for
    assert ended.code == 0 and "run / baseline / seed 0  finished" in ended.out


def test_json_has_what_is_shown(tmp_path: Path, probe: Invoke) -> None:
    train(tmp_path / "run", record("monitor.every=64", folder=tmp_path))
    printed = json.loads(probe("watch", tmp_path / "run", "--json").out)
    assert (printed["state"], printed["step"], printed["total"], printed["score"]) == ("finished", 384, 384, "return")
    assert [layer["name"] for layer in printed["layers"]] == ["encoder.dense1", "encoder.dense2"]
    assert printed["layers"][0]["collapsed_since"] is None and printed["seconds_left"] is None
    assert sum(printed["actions"]) == pytest.approx(1)


def test_a_run_without_readings_of_layers_says_so(tmp_path: Path, probe: Invoke) -> None:
    train(tmp_path / "run", record("steps=128", folder=tmp_path))
    shown = probe("watch", tmp_path / "run", "--once").out
    assert "dormant units: encoder" in shown and "monitor.every is 0" in shown


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, probe: Invoke) -> None:
    failed = probe("watch", tmp_path)
    assert failed.code == 2 and failed.error.startswith(f"Error: {tmp_path}: no run here")
