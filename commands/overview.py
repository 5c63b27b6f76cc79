"""One live overview of the runs of a grid: a table on a terminal, a line a run every ten seconds elsewhere."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from probe.commands.console import PLAIN_INTERVAL, duration, messages, number
from probe.headline import DORMANT
from probe.trainers.base import Metrics
from probe.trainers.jobs import Ending, Job, Progress

_SPARE_LINES = 6
"""Of a terminal, beside the table's rows: its frame, its caption and the prompt."""


@dataclass
class _Row:
    """What is known of a run."""

    name: str
    state: str = "waiting"
    step: int = 0
    total: int = 0
    first_step: int = 0
    """Where this process took it up; a resumed run's steps before that say nothing about the speed."""
    started: float = 0.0
    ended: float = 0.0
    shown: float = 0.0
    """When a plain line was last printed of it."""
    metrics: Metrics = field(default_factory=dict)

    def take(self, told: Progress | Ending) -> None:
        now = time.monotonic()
        if isinstance(told, Ending):
            self.ended = now
            self.state = "interrupted" if told.interrupted else "failed" if told.fault else "finished"
            return
        if self.state == "waiting":
            self.state, self.first_step, self.started, self.shown = "training", told.step, now, now
        self.step, self.total = told.step, told.total
        self.metrics |= {name: value for name, value in told.metrics.items() if value is not None}

    @property
    def rate(self) -> float:
        """Steps per second since this process took it up; 0 before there is one."""
        seconds = (self.ended or time.monotonic()) - self.started
        return (self.step - self.first_step) / max(seconds, 1e-9)

    @property
    def score(self) -> str:
        """What it is judged by: `return`, or of a supervised stream `accuracy`."""
        return "accuracy" if "accuracy/train" in self.metrics else "return"

    @property
    def cells(self) -> tuple[str, ...]:
        """Step, score, dormant units, speed, and the time left or how it ended; empty where there is nothing yet."""
        step = f"{self.step:,}/{self.total:,}" if self.total else ""
        reward, dormant = self.metrics.get(f"{self.score}/train"), self.metrics.get(DORMANT)
        known = self.state == "training" and self.rate
        left = f"{duration((self.total - self.step) / self.rate)} left" if known else self.state
        return (
            step,
            "" if reward is None else f"{reward:.2f}",
            "" if dormant is None else f"{dormant:.1%}",
            number(self.rate) if self.rate else "",
            left,
        )


class Overview:
    """Shows what the runs tell while they train; a context."""

    def __init__(self, jobs: list[Job]) -> None:
        """Takes the runs that are to be trained."""
        self._rows = {job.path: _Row(job.name) for job in jobs}
        self.failures: dict[Path, Ending] = {}
        """How those ended that failed, by their folder."""
        self._live = Live(console=messages, get_renderable=self._table, refresh_per_second=1)

    def __enter__(self) -> "Overview":
        """Starts showing the table, on a terminal."""
        if messages.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last table standing."""
        if messages.is_terminal:
            self._live.stop()

    def tell(self, job: Job, told: Progress | Ending) -> None:
        """Takes what a run tells."""
        row = self._rows[job.path]
        row.take(told)
        if isinstance(told, Progress):
            for note in told.notes:
                messages.print(f"[yellow]Note:[/] {escape(f'{row.name}: {note}')}")
        elif told.fault:
            self.failures[job.path] = told
        ended = isinstance(told, Ending)
        if not messages.is_terminal and (ended or time.monotonic() - row.shown >= PLAIN_INTERVAL):
            row.shown = time.monotonic()
            print(_line(row), file=sys.stderr, flush=True)

    def _table(self) -> Table:
        rows = list(self._rows.values())
        training = [row for row in rows if row.state == "training"]
        shown = rows if len(rows) <= messages.height - _SPARE_LINES else training
        states = Counter(row.state for row in rows)
        table = Table(caption=", ".join(f"{count} {state}" for state, count in sorted(states.items())))
        scores = " / ".join(dict.fromkeys(row.score.capitalize() for row in shown))
        for name in ("Run", "Step", scores, "Dormant", "Steps/s", ""):
            table.add_column(name, justify="left" if name in ("Run", "") else "right")
        for row in shown:
            table.add_row(escape(row.name), *row.cells)
        return table


def _line(row: _Row) -> str:
    step, reward, dormant, rate, left = row.cells
    parts = (
        f"{row.name}:",
        step,
        reward and f"{row.score} {reward}",
        dormant and f"dormant {dormant}",
        rate and f"{rate} steps/s",
        left,
    )
    return "  ".join(part for part in parts if part)
