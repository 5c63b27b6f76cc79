from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from probe.checkpoints.native import NativeCheckpoint
from probe.errors import ConfigurationError, FileError
from probe.trainers.base import NumericalFault
from probe.trainers.outcome import read_outcome
from probe.trainers.ppo import Ppo
from probe.trainers.record import RunRecord
from probe.trainers.run import TrainingRun
from tests.trainers.runs import PROCGEN, configuration, digests, events, record, rows, train


def test_a_run_folder_holds_what_the_contract_says(tmp_path: Path) -> None:
    made = record(folder=tmp_path)
    train(tmp_path / "run", made)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"run.toml", "metrics.csv", "checkpoints", "state"} < names and len(names) == 5
    assert sorted(digests(tmp_path / "run")) == [f"step_{step:09d}.safetensors" for step in (0, 128, 256, 384)]
    assert RunRecord.read(tmp_path / "run") == made.resolved()
    assert len(list((tmp_path / "run" / "state").iterdir())) == 2


def test_metrics_have_a_row_an_update_and_a_column_a_metric(tmp_path: Path) -> None:
    train(tmp_path / "run", record(folder=tmp_path))
    read = rows(tmp_path / "run")
    assert [int(row["step"]) for row in read] == [64, 128, 192, 256, 320, 384]
    assert [row["updates"] for row in read] == list("123456")
    assert [bool(row["return/test"]) for row in read] == [False, False, True, False, False, True]
    assert [bool(row["network/dead/encoder"]) for row in read] == [False, True] * 3
    assert [bool(row["network/gradient_norm/actor"]) for row in read] == [False, True] * 3
    assert all(row["loss/policy"] and row["policy/kl"] for row in read)
    logged = events(tmp_path / "run")
    for name, points in logged.items():
        assert [step for step, _ in points] == [int(row["step"]) for row in read if row[name]]
        assert [value for _, value in points] == pytest.approx(
            [float(row[name]) for row in read if row[name]], rel=1e-5
        )


def test_a_checkpoint_says_how_it_came_about(tmp_path: Path) -> None:
    train(tmp_path / "run", record(folder=tmp_path, toml=PROCGEN, method="specnorm"))
    found = [NativeCheckpoint(path).metadata for path in sorted((tmp_path / "run" / "checkpoints").iterdir())]
    assert [(each.step, each.frames, each.updates, each.task) for each in found] == [
        (0, 0, 0, 0), (128, 256, 2, 0), (256, 512, 4, 1), (384, 768, 6, 2)
    ]  # fmt: skip
    last = found[-1]
    assert (last.run, last.method, last.seed, last.algorithm) == ("run", "specnorm", 0, "ppo")
    assert last.environment["id"] == "procgen:coinrun" and last.environment["keywords"]["num_levels"] == 100
    assert last.acting["mode"] == "eval" and last.acting["precision"] in ("bfloat16", "float32")
    assert last.network.modules["encoder"].stages[0].options["spectral_norm"] is True
    assert "torch" in last.versions


def test_the_first_checkpoint_is_the_initial_network(tmp_path: Path) -> None:
    train(tmp_path / "a", record(folder=tmp_path))
    train(tmp_path / "b", record("ppo.learning_rate=0.1", folder=tmp_path))
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    name = "step_000000000.safetensors"
    assert first[name] == second[name]
    assert all(first[other] != second[other] for other in first if other != name)


def test_a_checkpoint_is_named_by_its_true_step(tmp_path: Path) -> None:
    train(tmp_path / "run", record("checkpoints.every=100", folder=tmp_path))
    assert [int(name[5:14]) for name in digests(tmp_path / "run")] == [0, 128, 256, 320, 384]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("x")
    for resume in (False, True):
        with pytest.raises(FileError, match="another --out"):
            TrainingRun(tmp_path / "run", record(folder=tmp_path), resume)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_an_unusable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Give another --out"):
        TrainingRun(tmp_path / "file" / "run", record(folder=tmp_path))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ppo.learning_rate=1e-4", "'ppo.learning_rate' is 0.0005 in this run and 0.0001 now"),
        ("environment.action_repeat=3", "'environment.action_repeat' is 1 in this run and 3 now"),
        ("compute.threads=3", "'compute.threads' is 1 in this run and 3 now"),
        ("compute.precision=bfloat16", "'compute.precision' is 'float32' in this run"),
        ("test.x=3", "'test.x' is None in this run and 3 now"),
    ],
)
def test_a_setting_that_differs_on_resume_is_named(tmp_path: Path, setting: str, words: str) -> None:
    train(tmp_path / "run", record(folder=tmp_path))
    before = (tmp_path / "run" / "run.toml").read_bytes()
    with pytest.raises(ConfigurationError) as error:
        TrainingRun(tmp_path / "run", record(setting, folder=tmp_path), resume=True)
    assert words in str(error.value)
    assert (tmp_path / "run" / "run.toml").read_bytes() == before


def test_another_preset_on_resume_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", record(folder=tmp_path))
    other = record(folder=tmp_path).model_copy(update={"preset": "other"})
    with pytest.raises(FileError, match="a run of preset 'tiny', not 'other'"):
        TrainingRun(tmp_path / "run", other, resume=True)


def test_more_steps_continue_as_if_they_had_been_asked_for_at_once(tmp_path: Path) -> None:
    train(tmp_path / "whole", record("steps=512", toml=PROCGEN, folder=tmp_path))
    made = record("steps=256", toml=PROCGEN, folder=tmp_path)
    train(tmp_path / "run", made)
    assert train(tmp_path / "run", made, resume=True) == []  # finished: nothing to do
    train(tmp_path / "run", made, resume=True, steps=512)
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    assert RunRecord.read(tmp_path / "run").configuration.steps == 512


def test_states_are_kept_where_asked_for(tmp_path: Path) -> None:
    train(tmp_path / "run", record("state.keep=[70]", "state.keep_every=192", "state.interval=1e9", folder=tmp_path))
    kept = sorted(int(path.stem[5:]) for path in (tmp_path / "run" / "state").iterdir())
    assert kept == [0, 128, 192, 256, 384]  # 0, 192 and 384 by period, 128 for 70; 256 and 384 are the newest


def test_a_damaged_newest_state_falls_back_to_the_one_before(tmp_path: Path) -> None:
    made = record(toml=PROCGEN, folder=tmp_path)
    train(tmp_path / "whole", made)
    train(tmp_path / "run", made)
    *_, newest = sorted((tmp_path / "run" / "state").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    notes = train(tmp_path / "run", made, resume=True)
    assert "not a whole state" in notes[0]
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_run_that_lost_its_states_is_not_started_over(tmp_path: Path) -> None:
    made = record(folder=tmp_path)
    train(tmp_path / "run", made)
    for path in (tmp_path / "run" / "state").iterdir():
        path.unlink()
    with pytest.raises(FileError, match="no whole state to resume from"):
        TrainingRun(tmp_path / "run", made, resume=True)


def test_environments_that_cannot_save_start_new_episodes_and_say_so(tmp_path: Path) -> None:
    made = record("steps=256", folder=tmp_path)
    train(tmp_path / "run", made)
    notes = train(tmp_path / "run", made, resume=True, steps=384)
    assert any("cannot save its episodes" in note for note in notes)
    assert [int(row["step"]) for row in rows(tmp_path / "run")] == [64, 128, 192, 256, 320, 384]


def test_another_machine_is_noted(tmp_path: Path) -> None:
    made = record("steps=256", folder=tmp_path)
    train(tmp_path / "run", made)
    path = tmp_path / "run" / "run.toml"
    path.write_text(path.read_text().replace(f'processor = "{made.processor}"', 'processor = "Abacus"'))
    notes = train(tmp_path / "run", made, resume=True, steps=320)
    assert any(note.startswith("processor was Abacus") and "not bit for bit" in note for note in notes)


def test_an_interruption_saves_the_state_after_the_last_whole_update(tmp_path: Path) -> None:
    made = record("checkpoints.every=100000", "state.interval=1e9", toml=PROCGEN, folder=tmp_path)
    train(tmp_path / "whole", made)
    with pytest.raises(KeyboardInterrupt), TrainingRun(tmp_path / "run", made) as run:
        for report in run:
            if report.step == 192:
                assert isinstance(run.trainer, Ppo)
                run.trainer._play()  # the update after it is broken off half way
                raise KeyboardInterrupt
    assert [path.name for path in sorted((tmp_path / "run" / "state").iterdir())][-1] == "step_000000192.safetensors"
    assert len(digests(tmp_path / "run")) == 1
    train(tmp_path / "run", made, resume=True)
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert events(tmp_path / "run") == events(tmp_path / "whole")


def test_a_numerical_fault_saves_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = record("state.interval=1e9", "checkpoints.every=100000", folder=tmp_path)
    with pytest.raises(NumericalFault, match="in update 4") as fault, TrainingRun(tmp_path / "run", made) as run:
        for report in run:
            if report.step == 192:
                run.trainer.network.get_submodule("critic").get_parameter("output.bias").data.fill_(float("nan"))
    assert "NaN in the values." in str(fault.value)
    state = tmp_path / "run" / "state" / "step_000000192.safetensors"
    assert f"The state of step 192 is in {state}." in str(fault.value)
    assert [path.name for path in sorted((tmp_path / "run" / "state").iterdir())][-1] == "step_000000192.safetensors"
    train(tmp_path / "run", made, resume=True)  # the saved weights are the good ones
    assert len(rows(tmp_path / "run")) == 6


def test_the_outcome_is_read_from_the_metrics(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "step,return/train,return/test,speed/steps_per_second\n1,,,10\n"
        + "".join(f"{step},{step},{'' if step % 4 else step * 10},20\n" for step in range(2, 14))
    )
    outcome = read_outcome(tmp_path)
    assert outcome.step == 13 and outcome.return_test == 120
    assert outcome.return_train == sum(range(4, 14)) / 10
    path.write_text("step,return/train,return/test,speed/steps_per_second\n")
    with pytest.raises(FileError, match="no update has been logged"):
        read_outcome(tmp_path)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_threads_and_precision_are_restored_on_resume(tmp_path: Path, threads: None) -> None:
    settings = ("compute.precision=bfloat16", "steps=128")
    train(tmp_path / "run", record(*settings, folder=tmp_path))
    torch.set_num_threads(2)
    auto = RunRecord.new("run", "tiny", "baseline", 0, configuration("steps=128", "compute.threads=0", folder=tmp_path))
    with TrainingRun(tmp_path / "run", auto, resume=True, steps=192) as run:
        assert torch.get_num_threads() == 1
        assert run.record.configuration.compute.precision == "bfloat16"


def test_auto_is_resolved_in_the_record(tmp_path: Path, threads: None) -> None:
    torch.set_num_threads(2)
    made = RunRecord.new("run", "tiny", "baseline", 0, configuration("compute.threads=0", folder=tmp_path)).resolved()
    assert made.configuration.compute.threads == 2
    assert made.configuration.compute.device in ("cpu", "cuda")
    assert made.configuration.compute.precision == "float32"  # vectors


def test_cuda_where_there_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="finds no CUDA device"):
        TrainingRun(tmp_path / "run", record("compute.device=cuda", folder=tmp_path))
    assert not (tmp_path / "run").exists()
