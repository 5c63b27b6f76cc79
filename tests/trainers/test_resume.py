"""Real processes, killed at every kind of moment: the resumed run is the uninterrupted one, bit for bit."""

import importlib
import importlib.util
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from probe.trainers.record import RunRecord
from tests.trainers.runs import PROCGEN, digests, events, record, rows, train

if importlib.util.find_spec("procgen") is None:
    pytest.skip("procgen is not installed", allow_module_level=True)

# Two threads beside another busy process would spin for most of the time.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# Its children start with everything imported and nothing computed yet, which also makes more than one thread safe.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.trainers.preload"])
TIMEOUT = 60


def train_in_this_process(folder: Path, made: RunRecord, kill: "Kill | None") -> None:
    if kill is not None:
        kill.prepare()
    train(folder, made, resume=True)


@dataclass
class Kill:
    """Kills the process by signal 9 just before or after the n-th call of a function."""

    where: str
    call: int
    after: bool

    def prepare(self) -> None:
        module, *names, name = self.where.split(" ")
        owner = importlib.import_module(module)
        for each in names:
            owner = getattr(owner, each)
        original: Callable[..., Any] = getattr(owner, name)
        calls = 0

        def killing(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **options)
            if calls == self.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, killing)


def start(folder: Path, made: RunRecord, kill: Kill | None = None) -> Any:
    process = PROCESSES.Process(target=train_in_this_process, args=(folder, made, kill))
    process.start()
    return process


def finish(process: Any, code: int = 0) -> None:
    process.join(TIMEOUT)
    assert process.exitcode == code


def assert_the_same(folder: Path, whole: Path) -> None:
    assert digests(folder) == digests(whole)
    assert rows(folder) == rows(whole)
    assert events(folder) == events(whole)
    assert not [path for path in folder.rglob(".*")]


def settings(precision: str, threads: int) -> list[str]:
    """A task shift, a test episode and a state after every update; as few and small tensors as that takes."""
    sizes = ("ppo.rollout_steps=8", "ppo.minibatch=16", "ppo.passes=1", "steps=192", "checkpoints.every=64")
    few = ("evaluation.episodes=1", "diagnostics.samples=16", "state.interval=0")
    return [f"compute.precision={precision}", f"compute.threads={threads}", *sizes, *few]


FORMS = [("float32", 1), ("bfloat16", 1), ("bfloat16", 2)]


@pytest.fixture(scope="module", params=FORMS, ids=[f"{precision}-{threads}" for precision, threads in FORMS])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path, float]:
    """An uninterrupted run, with a mitigation that has buffers, and its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    made = record(*settings(*request.param), toml=PROCGEN, folder=folder, method="specnorm")
    warm = PROCESSES.Process(target=int)
    warm.start()
    finish(warm)
    begin = time.monotonic()
    finish(start(folder / "run", made))
    return made, folder / "run", time.monotonic() - begin


def test_killed_at_any_time_the_run_ends_as_if_it_had_not_been(
    whole: tuple[RunRecord, Path, float], tmp_path: Path
) -> None:
    made, expected, seconds = whole
    rng = random.Random(made.configuration.compute.precision)
    for _ in range(3):
        process = start(tmp_path / "run", made)
        time.sleep(rng.uniform(0.1, 1.0) * seconds)
        process.kill()
        process.join(TIMEOUT)
    finish(start(tmp_path / "run", made))
    assert_the_same(tmp_path / "run", expected)


MOMENTS = {
    # Path.replace: run.toml, checkpoint 0, state 0, state 32, checkpoint 64, state 64, ...
    "before run.toml has its name": Kill("pathlib Path replace", 1, after=False),
    "after run.toml": Kill("pathlib Path replace", 1, after=True),
    "before the first checkpoint has its name": Kill("pathlib Path replace", 2, after=False),
    "before the first state has its name": Kill("pathlib Path replace", 3, after=False),
    "before a later state has its name": Kill("pathlib Path replace", 4, after=False),
    "between a checkpoint and its state": Kill("pathlib Path replace", 5, after=True),
    "after a row is logged": Kill("probe.trainers.logs Logs write", 3, after=True),
    "between the two logs": Kill("probe.trainers.logs Logs _write_line", 4, after=True),
    "before an old state is removed": Kill("pathlib Path unlink", 1, after=False),
    "while a test episode is played": Kill("probe.trainers.run evaluate", 1, after=False),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_each_moment_of_writing(float32: tuple[RunRecord, Path], tmp_path: Path, moment: str) -> None:
    made, expected = float32
    finish(start(tmp_path / "run", made, MOMENTS[moment]), -signal.SIGKILL)
    finish(start(tmp_path / "run", made))
    assert_the_same(tmp_path / "run", expected)


@pytest.fixture(scope="module")
def float32(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    folder = tmp_path_factory.mktemp("float32")
    made = record(*settings("float32", 1), toml=PROCGEN, folder=folder)
    finish(start(folder / "run", made))
    return made, folder / "run"
