"""Monitoring: it changes nothing, reads what the probes read, and tells of a collapse while the run is alive."""

from pathlib import Path

import pytest
import torch

from probe.errors import ConfigurationError
from probe.trainers.base import ActivationCollapse
from probe.trainers.configuration import load
from probe.trainers.monitoring import _balance
from probe.trainers.run import TrainingRun
from tests.trainers.mitigations.agents import agent, kill
from tests.trainers.runs import CARTPOLE, PROCGEN, configuration, digests, events, record, rows, train

MONITORED = ("monitor.every=64", "monitor.samples=32", "monitor.images_every=128")
FEW = ("steps=256", "evaluation.episodes=1", "diagnostics.samples=16")
LAYERS = [f"encoder.conv{index}" for index in (1, 2, 3, 4)] + ["encoder.dense"]
COLLAPSED = "activation/collapsed/encoder.dense2"


def test_checkpoints_are_the_same_with_monitoring_and_without(tmp_path: Path) -> None:
    # Batch normalisation: a pass in the wrong mode would move its running averages.
    made = [
        record(*FEW, *settings, toml=PROCGEN, folder=tmp_path, method="batchnorm+augment")
        for settings in ((), MONITORED)
    ]
    for name, each in zip(("plain", "monitored"), made, strict=True):
        train(tmp_path / name, each)
    assert digests(tmp_path / "monitored") == digests(tmp_path / "plain")
    left, right = rows(tmp_path / "plain"), rows(tmp_path / "monitored")
    assert [{name: row[name] for name in left[0]} for row in right] == left
    added = set(right[0]) - set(left[0])
    kinds = ("mean_abs", "fau", "dormant_0.025", "collapsed")
    assert {f"activation/{kind}/{layer}" for kind in kinds for layer in LAYERS} <= added
    assert {"actions/balance", "actions/share_8", "spike/loss/value", "spike/policy/entropy"} <= added
    logged = events(tmp_path / "monitored")
    pictures = {tag: [step for step, _ in points] for tag, points in logged.items() if "maps" in tag}
    assert pictures == {f"feature_maps/{layer}": [128, 256] for layer in LAYERS[:4]}


def test_a_monitored_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    made = record(*FEW, *MONITORED, toml=PROCGEN, folder=tmp_path)
    train(tmp_path / "whole", made)
    with pytest.raises(KeyboardInterrupt), TrainingRun(tmp_path / "resumed", made) as run:
        next(iter(run))
        raise KeyboardInterrupt
    train(tmp_path / "resumed", made, resume=True)
    assert rows(tmp_path / "resumed") == rows(tmp_path / "whole")
    assert events(tmp_path / "resumed") == events(tmp_path / "whole")


def test_layers_average_to_what_the_modules_read(tmp_path: Path) -> None:
    settings = ("monitor.every=1", "monitor.samples=64", "diagnostics.every=1", "steps=128", "network.hidden=16")
    train(tmp_path / "run", record(*settings, folder=tmp_path))
    for row in rows(tmp_path / "run"):
        layers = [float(row[f"activation/dormant_0.025/encoder.dense{index}"]) for index in (1, 2)]
        active = [float(row[f"activation/fau/encoder.dense{index}"]) for index in (1, 2)]
        assert sum(layers) / 2 == pytest.approx(float(row["network/dormant_0.025/encoder"]), abs=1e-6)
        assert 1 - sum(active) / 2 == pytest.approx(float(row["network/zero_fraction/encoder"]), abs=1e-6)
        assert sum(float(row[f"actions/share_{action}"]) for action in (0, 1)) == pytest.approx(1)


def test_readings_come_at_the_first_update_after_their_step(tmp_path: Path) -> None:
    train(tmp_path / "run", record("monitor.every=100", folder=tmp_path))
    read = [int(row["step"]) for row in rows(tmp_path / "run") if row["actions/balance"]]
    assert read == [128, 256, 320]


def test_the_balance_of_actions_by_hand(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "baseline")
    trainer.rollout.actions[:] = torch.tensor([0, 0, 0, 1])
    found = _balance(trainer)
    assert found == {"actions/balance": pytest.approx(0.811278), "actions/share_0": 0.75, "actions/share_1": 0.25}
    trainer.rollout.actions[:] = 1
    assert _balance(trainer)["actions/balance"] == 0


def test_a_collapse_is_told_of_once_and_stops_the_run_that_asks_for_it(tmp_path: Path) -> None:
    made = record("monitor.every=64", "monitor.stop_on_collapse=true", folder=tmp_path)
    with pytest.raises(ActivationCollapse) as ended, TrainingRun(tmp_path / "run", made) as run:
        for report in run:
            if report.step == 128:
                kill(run.trainer.network, "encoder.dense2", 16)
    message = str(ended.value)
    assert message.startswith("Stopped at step 192: encoder.dense2 has collapsed (all its outputs are 0).")
    assert "The state of step 192 is in" in message and "step_000000192.safetensors" in message
    assert [row[COLLAPSED] for row in rows(tmp_path / "run")] == ["0", "0", "1"]
    free = record("monitor.every=64", folder=tmp_path)
    notes = train(tmp_path / "run", free, resume=True)
    assert [row[COLLAPSED] for row in rows(tmp_path / "run")] == ["0", "0"] + ["1"] * 4
    assert not any("encoder.dense2 has collapsed" in note for note in notes), "it was told of before"


def test_a_collapse_is_a_note_in_a_run_that_goes_on(tmp_path: Path) -> None:
    with TrainingRun(tmp_path / "run", record("monitor.every=64", folder=tmp_path)) as run:
        kill(run.trainer.network, "encoder.dense1", 16)
        notes = [note for report in run for note in report.notes]
    # Without inputs that differ, the second layer has outputs that do not vary.
    assert sorted(notes) == [
        "encoder.dense1 has collapsed at step 64: all its outputs are 0.",
        "encoder.dense2 has collapsed at step 64: 90% or more of its units hardly vary.",
    ]


@pytest.mark.parametrize("setting", ["monitor.stop_on_collapse=true", "monitor.images_every=100"])
def test_what_needs_readings_is_refused_without_them(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Set it too, such as monitor\.every=1000"):
        configuration(setting, toml=CARTPOLE, folder=tmp_path)


def test_another_interval_on_resume_is_named(tmp_path: Path) -> None:
    train(tmp_path / "run", record("monitor.every=64", folder=tmp_path))
    with pytest.raises(ConfigurationError, match=r"'monitor\.every' is 64 in this run and 0 now"):
        TrainingRun(tmp_path / "run", record(folder=tmp_path), resume=True)


def test_pong_is_monitored_every_thousand_steps() -> None:
    for preset in ("pong", "pong-collapse", "pong-stable"):
        assert load(preset).monitor.every == load(preset).monitor.images_every == 1_000
