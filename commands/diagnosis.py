"""The diagnosis of an analysis on the terminal."""

from collections.abc import Mapping, Sequence

from probe.commands.console import console
from probe.diagnosis import SeriesDiagnosis
from probe.diagnosis.words import evidence_line, module_line, signs_shown, standing_lines

_COLOURS = {"healthy": "green", "degrading": "yellow", "lost": "red", "unknown": "dim"}
_EVIDENCE = 2
"""Lines of evidence a module; `--json` has all."""


def print_diagnoses(diagnoses: Sequence[SeriesDiagnosis], labels: Mapping[str, str]) -> None:
    """Prints each series' modules with their evidence, then what the signs that were found mean and do not mean."""
    for each in diagnoses:
        title = f"{each.run} / {each.method} / seed {each.seed}"
        console.print(f"[bold]Diagnosis of {title} at step {each.last_step:,}, against step {each.first_step:,}[/]")
        for module in each.modules:
            console.print(f"  [{_COLOURS[module.state]}]{module_line(module, labels)}[/]")
            for line in standing_lines(module, each.first_step, labels):
                console.print(f"    {line}")
            for piece in module.evidence[:_EVIDENCE]:
                console.print(f"    {evidence_line(piece, labels)}")
            more = len(module.evidence) - _EVIDENCE
            if more > 0:
                console.print(f"    and {more} more (--json)", style="dim")
        for note in each.notes:
            console.print(f"  {note}", style="dim")
    shown = signs_shown(diagnoses)
    if shown:
        console.print("[bold]What these mean, and what they do not[/]")
    for sign in shown:
        console.print(f"  {sign.name}: {sign.means}. [dim]Not: {sign.does_not_mean}.[/]")
