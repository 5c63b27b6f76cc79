"""`probe report`: figures, web page and tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from probe.report import Entry, Report

_FORMATS = "png,svg,pdf,html,csv"


def report(
    inputs: Annotated[list[Path], typer.Argument(help="Analysis files, run folders, or folders above several runs.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; an earlier report in it is replaced.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Of png, svg, pdf, html, csv and tex, with commas; repeatable. Default: all but tex.",
        ),
    ] = None,
    figure: Annotated[
        list[str] | None, typer.Option("--figure", help="A figure's name (`probe list figures`); repeatable.")
    ] = None,
    style: Annotated[str, typer.Option("--style", help="paper (a column of 8 cm) or slides.")] = "paper",
    tau: Annotated[float, typer.Option("--tau", help="Score up to which a unit counts as dormant.", min=0.0)] = 0.025,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Layer of the figures of one layer; the encoder's last by default.")
    ] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Print the tables here; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written, and the table, as JSON.")] = False,
) -> None:
    """Draw the figures and tables of analyses and runs.

    Example: `probe report analysis.h5 runs/demo --out report`

    The returns come from the runs, all else from the analyses. Open `index.html` in the folder first.
    """
    from probe.commands.console import progress
    from probe.commands.plain import as_json_text
    from probe.errors import ConfigurationError
    from probe.figures import Settings, figure_classes
    from probe.report import open_material, overview, write_report

    if out is None and not terminal:
        raise ConfigurationError("No folder given. Say where to write with --out DIR, or use --terminal.")
    material = open_material(inputs)
    if out is None or terminal:
        entries = overview(material)
        print(as_json_text({"entries": [_plain(each) for each in entries]})) if as_json else _print_table(entries)
        return
    names = [name.strip() for given in formats or [_FORMATS] for name in given.split(",") if name.strip()]
    figures = figure or []
    with progress("Drawing", len(figures) or len(figure_classes()), "figures") as advance:
        written = write_report(material, out, names, figures, style, Settings(tau, layer), lambda: advance(1))
    if as_json:
        print(as_json_text(_summary(written)))
    else:
        _print_report(written)


def _print_report(written: "Report") -> None:
    from probe.commands.console import console

    _print_table(written.entries)
    for each in written.skipped:
        console.print(f"[dim]Not drawn: {each.kind.title}. {each.reason}[/]")
    first = "index.html" if "index.html" in written.files else written.files[0]
    console.print(f"{len(written.files)} files. Open [bold]{written.out / first}[/]")


def _print_table(entries: "tuple[Entry, ...] | list[Entry]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from probe.commands.console import console, sparkline
    from probe.figures.names import step_name

    table = Table("Measure, series", box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("First", "Last", "Change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Course", no_wrap=True)
    measure = ""
    for entry in entries:
        name = f"{entry.measure}, {entry.where}"
        if name != measure:
            table.add_row(f"[bold]{name}[/]")
        seeds = f", mean of {entry.seeds} seeds" if entry.seeds > 1 else ""
        series = f"  {entry.series}, step {step_name(entry.first_step)} to {step_name(entry.last_step)}{seeds}"
        values = (entry.shown(entry.first), entry.shown(entry.last), entry.shown_change)
        table.add_row(series, *values, sparkline(entry.course))
        measure = name
    console.print(table)


def _summary(written: "Report") -> dict[str, object]:
    return {
        "out": str(written.out),
        "files": list(written.files),
        "figures": [each.file for each in written.drawn],
        "skipped": [{"figure": each.kind.name, "reason": each.reason} for each in written.skipped],
        "entries": [_plain(each) for each in written.entries],
    }


def _plain(entry: "Entry") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(entry), "change": entry.change}
