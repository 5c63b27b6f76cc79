"""The summary of an analysis on the terminal and as JSON."""

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path

from rich.table import Table

from probe.commands.console import console, sparkline
from probe.commands.diagnosis import print_diagnoses
from probe.commands.plain import as_json_text
from probe.diagnosis import SeriesDiagnosis
from probe.diagnosis.words import plain
from probe.figures.names import layer_name
from probe.results import Analysis
from probe.summary import summarise
from probe.summary_lines import Line


def print_summary(analysis: Analysis, diagnoses: Sequence[SeriesDiagnosis], out: Path) -> None:
    """Prints a table a series: first, last, change, course and what stands out; then the diagnosis."""
    for series in summarise(analysis):
        first, last = min(line.steps[0] for line in series.lines), max(line.steps[-1] for line in series.lines)
        title = f"{series.run} / {series.method} / seed {series.seed}"
        table = Table(title=title, title_justify="left", caption=series.finding, caption_justify="left")
        table.add_column("Measure")
        table.add_column("Where")
        table.add_column(f"step {first:,}", justify="right")
        table.add_column(f"step {last:,}", justify="right")
        table.add_column("Change", justify="right")
        table.add_column("Course")
        for line in series.lines:
            where = analysis_label(analysis, line)
            table.add_row(line.name, where, *_cells(line, first, last), sparkline(line.values))
        console.print(table)
    print_diagnoses(diagnoses, _labels(analysis))
    rows = len(analysis.rows["run"])
    console.print(f"{out}: {rows:,} rows. Figures and tables: [bold]probe report {out} --out report[/]")


def analysis_label(analysis: Analysis, line: Line) -> str:
    """Returns where a line was measured: the module, and the layer's readable label where it is one layer."""
    where = "whole network" if line.module == "all" else line.module
    labels = [each["label"] for each in analysis.layers if each["layer"] == line.layer]
    return f"{where}, {labels[0].rpartition('.')[2]}" if labels else where


def summary_json(analysis: Analysis, diagnoses: Sequence[SeriesDiagnosis], out: Path) -> str:
    """Returns the summary and the diagnosis as JSON; null where there is no number."""
    return as_json_text(
        {
            "out": str(out),
            "rows": len(analysis.rows["run"]),
            "series": summarise(analysis),
            "diagnosis": plain(diagnoses, _labels(analysis)),
        }
    )


def _labels(analysis: Analysis) -> dict[str, str]:
    return {each["layer"]: layer_name(each["label"]) for each in analysis.layers}


def _cells(line: Line, first: int, last: int) -> tuple[str, str, str]:
    """Returns the values at the table's first and last step, a dash where the line has none there, and the change."""

    def show(value: float, sign: str = "") -> str:
        if isnan(value):
            return "-"
        return f"{value:{sign}.1%}".replace("%", " %") if line.unit == "%" else f"{value:{sign}.1f}"

    start = line.first if line.steps[0] == first else nan
    end = line.last if line.steps[-1] == last else nan
    return show(start), show(end), show(end - start, "+").replace("%", "pp")
