"""Detections on the terminal and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from probe.commands.console import console
from probe.commands.plain import as_json_text
from probe.detection import Detection
from probe.detection.words import (
    HEADER,
    NOTE,
    OFFLINE_HEADER,
    OFFLINE_NOTE,
    OfflineVerdict,
    described,
    table,
    title,
    verdict_line,
)


def print_detections(detections: Sequence[Detection], out: Path) -> None:
    """Prints each arm beside the reference, and the verdict."""
    for each in detections:
        console.print(title(each), markup=False)
        shown = _table(HEADER)
        for measure, lines in table(each).items():
            shown.add_row(f"[bold]{measure}[/]")
            for arm, *cells in lines:
                shown.add_row(f"  {arm}", *map(escape, cells))
        console.print(shown)
        console.print(f"[bold]{verdict_line(each)}[/]\n")
    console.print(NOTE)
    _say_next(out)


def detections_json(detections: Sequence[Detection], out: Path) -> str:
    """Returns everything as JSON; null where there is no number."""
    return as_json_text({"out": str(out), "detections": [described(each) for each in detections]})


def print_offline(verdicts: Sequence[OfflineVerdict], out: Path) -> None:
    """Prints a table a series, with a line a checkpoint."""
    for series in dict.fromkeys(each.series for each in verdicts):
        console.print(series, markup=False)
        shown = _table(OFFLINE_HEADER)
        for each in verdicts:
            if each.series == series:
                shown.add_row(*each.cells)
        console.print(shown)
    console.print(OFFLINE_NOTE)
    _say_next(out)


def offline_json(verdicts: Sequence[OfflineVerdict], out: Path) -> str:
    """Returns the verdicts as JSON; null where there is no number."""
    return as_json_text({"out": str(out), "checkpoints": [{**asdict(each), "words": each.words} for each in verdicts]})


def _table(header: Sequence[str]) -> Table:
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1))
    shown.add_column(header[0], no_wrap=True)
    for name in header[1:]:
        shown.add_column(name, justify="right", no_wrap=True)
    return shown


def _say_next(out: Path) -> None:
    console.print(f"{out}: rows and curves. Figures and tables: [bold]probe report {out} --out report[/]")
