"""The runs of a grid as jobs: what each is, what it tells on its way, and how it ended."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from probe.errors import ProbeError
from probe.threads import use_threads
from probe.trainers.base import Metrics
from probe.trainers.record import RunRecord
from probe.trainers.run import TrainingRun

OUR_FAULT = 1
"""Exit code where no input is at fault."""
BESIDE_OTHERS = 1
"""Threads of a run beside others: what it computes must not follow from how many others there are."""


@dataclass(frozen=True)
class Job:
    """A run to start or to continue, and to train to its end."""

    path: Path
    record: RunRecord
    resume: bool = False
    steps: int | None = None
    """On resume, where to train to now; None for where the run went."""

    @property
    def name(self) -> str:
        """What the run is called in messages."""
        return f"{self.record.method} seed {self.record.seed}"


@dataclass(frozen=True)
class Progress:
    """How far a run is; the first one says where it starts."""

    step: int
    total: int
    metrics: Metrics
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ending:
    """A run has ended: by itself, by a fault that `fault` describes, or interrupted with its state saved."""

    fault: str | None = None
    exit_code: int = 0
    trace: str = ""
    interrupted: bool = False


Tell = Callable[[Job, Progress | Ending], None]
"""Is called where a run has something to tell."""


def train(job: Job, threads: int, tell: Tell) -> None:
    """Trains a run; a fault ends this run only, and is told like everything else.

    Args:
        job: the run.
        threads: PyTorch's, for a run that begins and whose settings name no number; run.toml's count after that.
        tell: is called after every update, and with how it ended.

    Raises:
        KeyboardInterrupt: the process is to end; the state was saved.
    """
    use_threads(threads)
    try:
        with TrainingRun(job.path, job.record, job.resume, job.steps) as run:
            total = run.record.configuration.total_steps
            tell(job, Progress(run.trainer.step, total, {}))
            for report in run:
                tell(job, Progress(report.step, total, report.metrics, tuple(report.notes)))
        ending = Ending()
    except ProbeError as error:
        ending = Ending(str(error), error.exit_code, traceback.format_exc())
    except Exception as error:
        ending = Ending(f"{type(error).__name__}: {error}", OUR_FAULT, traceback.format_exc())
    tell(job, ending)


def train_in_turn(jobs: list[Job], tell: Tell) -> None:
    """Trains one run after another in this process, each with PyTorch's own number of threads."""
    threads = torch.get_num_threads()
    for job in jobs:
        train(job, threads, tell)
