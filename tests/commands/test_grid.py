"""Grids of runs in real processes: side by side, faulty, interrupted and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from probe.trainers.record import RunRecord
from tests.commands.invoke import Invoke
from tests.trainers.runs import CARTPOLE, PROCGEN, digests, rows

PROBE = "import sys; sys.argv[0] = 'probe'; from probe.commands.app import main; main()"
TIMEOUT = 120
WITHOUT_END = ("--steps", "10M", "--set", "state.interval=1e9", "--seeds", "0-1", "--workers", "2")


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "cart.toml"
    path.write_text(CARTPOLE)
    return path


@pytest.fixture
def exact(preset: Path) -> Path:
    """A preset of environments that save their episodes, so that a resumed run is the whole one bit for bit."""
    pytest.importorskip("procgen")
    preset.write_text(PROCGEN)
    return preset


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Starts `probe train` in a process group of its own, as a terminal does."""
    command = [sys.executable, "-c", PROBE, "train", *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def updates(folder: Path) -> int:
    """Returns how many updates a run has logged."""
    metrics = folder / "metrics.csv"
    return metrics.read_text().count("\n") - 1 if metrics.exists() else 0


def saved(folder: Path) -> int:
    """Returns the step of the newest state."""
    return max(int(path.stem[5:]) for path in (folder / "state").iterdir())


def holder(folder: Path) -> int:
    """Returns the process that trains in a folder; 0 where none does."""
    lock = folder / "run.lock"
    return int(lock.read_text().strip() or 0) if lock.exists() else 0


def test_a_fault_and_a_killed_worker_leave_the_others_as_they_are(probe: Invoke, exact: Path, tmp_path: Path) -> None:
    out, steps = tmp_path / "out", 384
    sweep = ("--sweep", "ppo.learning_rate=5e-4,1e30", "--seeds", "0-1", "--steps", steps, "--json")
    healthy, faulty = (out / f"baseline@learning_rate={value}" for value in ("0.0005", "1e+30"))
    with started(exact, "--out", out, *sweep, "--workers", "2") as process:
        wait_until(lambda: holder(healthy / "seed1") > 0)
        os.kill(holder(healthy / "seed1"), signal.SIGKILL)
        printed, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "baseline@learning_rate=0.0005 seed 1: its process was ended by signal 9 (SIGKILL)" in error
    assert "baseline@learning_rate=1e+30 seed 0" in error and "NaN in the probability ratio" in error
    faults = {Path(each["path"]): each["fault"] for each in json.loads(printed)}
    assert [path for path, fault in faults.items() if fault is None] == [healthy / "seed0"]

    # In turn, in one process: the killed run is resumed, the fault is met again and the finished run passed over.
    outcome = probe("train", exact, "--out", out, *sweep, "--resume")
    assert outcome.code == 2 and f"{healthy}/seed0: finished already" in outcome.error
    whole = tmp_path / "whole" / "out"
    plain = ("--sweep", "ppo.learning_rate=5e-4", "--seeds", "0-1", "--steps", steps)
    assert probe("train", exact, "--out", whole, *plain, "--set", "compute.threads=1").code == 0
    for seed in ("seed0", "seed1"):
        expected = whole / healthy.name / seed
        assert RunRecord.read(healthy / seed).configuration.compute.threads == 1
        assert rows(healthy / seed) == rows(expected)
        assert digests(healthy / seed) == digests(expected)
    assert len(digests(faulty / "seed0")) == 1 and not list(out.rglob("*.partial")) + list(out.rglob("run.lock"))


def test_ctrl_c_saves_every_run_and_prints_the_one_command_that_resumes(preset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    runs = [out / "baseline" / f"seed{seed}" for seed in (0, 1)]
    with started(preset, "--out", out, *WITHOUT_END) as process:
        wait_until(lambda: all(updates(run) >= 3 for run in runs))
        pids = [holder(run) for run in runs]
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130 and "Traceback" not in error
    assert f"probe train {preset} --out {out} {' '.join(WITHOUT_END)} --resume" in error
    for run, pid in zip(runs, pids, strict=True):
        assert saved(run) == 64 * updates(run)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_threads_of_one_process_train_what_each_run_trains_alone(probe: Invoke, exact: Path, tmp_path: Path) -> None:
    sweep = ("--sweep", "ppo.learning_rate=5e-4,1e30", "--seeds", "0-1", "--steps", 256)
    together, alone = tmp_path / "together" / "out", tmp_path / "alone" / "out"
    outcome = probe("train", exact, "--out", together, *sweep, "--workers", 3, "--executor", "threads")
    assert outcome.code == 2 and outcome.error.count("NaN in the probability ratio") == 2
    assert probe("train", exact, "--out", alone, *sweep, "--set", "compute.threads=1").code == 2
    for path in alone.rglob("seed*"):
        run = together / path.relative_to(alone)
        assert rows(run) == rows(path) and digests(run) == digests(path)
    assert len(list(alone.rglob("checkpoints"))) == 4


def test_ctrl_c_saves_every_run_of_threads(preset: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "out" / "baseline" / f"seed{seed}" for seed in (0, 1)]
    with started(preset, "--out", tmp_path / "out", *WITHOUT_END, "--executor", "threads") as process:
        wait_until(lambda: all(updates(run) >= 3 for run in runs))
        assert [holder(run) for run in runs] == [process.pid] * 2
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130 and "Traceback" not in error and "--executor threads --resume" in error
    assert [saved(run) for run in runs] == [64 * updates(run) for run in runs]


def test_when_the_parent_is_killed_its_runs_save_and_end_and_can_be_resumed(
    probe: Invoke, exact: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole" / "out"
    runs = [Path("baseline") / f"seed{seed}" for seed in (0, 1)]
    with started(exact, "--out", out, *WITHOUT_END) as process:
        wait_until(lambda: all(updates(out / run) >= 3 for run in runs))
        process.kill()
        process.communicate(timeout=TIMEOUT)
    wait_until(lambda: not list(out.rglob("run.lock")))
    steps = max(saved(out / run) for run in runs) + 128
    assert all(saved(out / run) >= 3 * 64 for run in runs)
    assert probe("train", exact, "--out", out, "--seeds", "0-1", "--steps", steps, "--resume").code == 0
    settings = ("--set", "compute.threads=1")
    assert probe("train", exact, "--out", whole, "--seeds", "0-1", "--steps", steps, *settings).code == 0
    for run in runs:
        assert rows(out / run) == rows(whole / run)
        assert digests(out / run) == digests(whole / run)


def test_one_thread_after_a_run_with_more_leaves_the_next_run_its_own_number(
    probe: Invoke, preset: Path, tmp_path: Path
) -> None:
    command = ("train", preset, "--out", tmp_path / "out", "--steps", 64)
    probe(*command, "--set", "compute.threads=2")
    torch.set_num_threads(1)  # as in a new process
    assert probe(*command, "--seeds", "0-1", "--steps", 128, "--resume").code == 0
    found = [RunRecord.read(tmp_path / "out" / "baseline" / f"seed{seed}").configuration for seed in (0, 1)]
    assert [each.compute.threads for each in found] == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "0"), "--workers is 0; at least 1"),
        (("--executor", "ray"), "--executor 'ray': expected one of local, threads"),
        (("--sweep", "mitigation.redo.tau=0.1"), "Add --method redo"),
        (("--method", "redo", "--sweep", "mitigation.redo.tao=0.1"), "Did you mean: tau?"),
        (("--method", "redo", "--sweep", "mitigation.redo.tau=0.1,-1"), "'tau' is -1"),
    ],
)
def test_bad_input_ends_in_a_message_and_leaves_nothing(
    probe: Invoke, preset: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    outcome = probe("train", preset, *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2 and words in outcome.error
    assert not (tmp_path / "out").exists()
