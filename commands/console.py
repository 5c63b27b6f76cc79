"""What the commands share: the console, progress with rate and time left, and readable numbers."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)
"""Standard output."""
messages = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error: progress, warnings and errors, so that `--json` stays clean."""

_BARS = "▁▂▃▄▅▆▇█"
PLAIN_INTERVAL = 10.0
"""Seconds between lines where there is no terminal."""


class Advance(Protocol):
    """Moves a progress display on."""

    def __call__(self, amount: float | int = 1, note: str = "") -> None:
        """Adds `amount` to what is done; `note` is shown beside the bar."""


class _Rate(ProgressColumn):
    """Units per second since the start."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{number(speed)} {self.unit}/s" if speed else f"- {self.unit}/s", style="cyan")


@contextmanager
def progress(title: str, total: float | int, unit: str, done: float | int = 0) -> Iterator[Advance]:
    """Shows progress with rate and time left: a bar on a terminal, a plain line every ten seconds elsewhere.

    Args:
        title: What is being done.
        total: Amount of work, in `unit`.
        unit: Plural noun, such as `steps` or `frames`.
        done: What was done already (a resumed run); it does not count towards the rate.
    """
    if messages.is_terminal:
        yield from _bar(title, total, unit, done)
    else:
        yield from _lines(title, total, unit, done)


def _bar(title: str, total: float | int, unit: str, done: float | int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=messages, speed_estimate_period=60) as bar:
        task = bar.add_task(title, total=int(total), completed=int(done), note="")

        def advance(amount: float | int = 1, note: str = "") -> None:
            bar.update(task, advance=amount, **({"note": note} if note else {}))  # type: ignore[arg-type]

        yield advance


def _lines(title: str, total: float | int, unit: str, done: float | int) -> Iterator[Advance]:
    start = last = time.monotonic()
    now_done = done

    def advance(amount: float | int = 1, note: str = "") -> None:
        nonlocal now_done, last
        now_done += amount
        now = time.monotonic()
        if now - last < PLAIN_INTERVAL and now_done < total:
            return
        last = now
        rate = (now_done - done) / max(now - start, 1e-9)
        left = duration((total - now_done) / rate) if rate else "?"
        parts = (f"{title}: {now_done:,.0f}/{total:,.0f} {unit}", f"{number(rate)} {unit}/s", f"{left} left", note)
        print("  ".join(part for part in parts if part), file=sys.stderr, flush=True)

    yield advance


def number(value: float) -> str:
    """Returns a number with about three digits and k or M, such as `1.05k`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Returns a time such as `1:02:03` or `2:03`."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def sparkline(values: tuple[float, ...]) -> str:
    """Returns one bar a value, from the lowest to the highest; a gap where there is none, flat where all are equal."""
    numbers = [value for value in values if not isnan(value)]
    if not numbers:
        return ""
    low, span = min(numbers), max(numbers) - min(numbers)
    top = len(_BARS) - 1
    return "".join(
        " " if isnan(value) else _BARS[round((value - low) / span * top) if span > 0 else 0] for value in values
    )
