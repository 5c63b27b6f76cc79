"""`probe inspect`: what a file or folder holds, and whether it is whole."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    path: Annotated[Path, typer.Argument(help="A run folder, checkpoint, observation set or analysis file.")],
    verify: Annotated[bool, typer.Option("--verify", help="Recompute every digest (reads every byte).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as JSON.")] = False,
) -> None:
    """Show what a file or folder holds, and whether it is whole.

    Example: `probe inspect runs/demo/baseline/seed0 --verify`
    """
    import json

    from rich.table import Table

    from probe.commands.console import console, messages
    from probe.inspection import describe

    described = describe(path, verify)
    if as_json:
        facts = {
            "kind": described.kind,
            "whole": described.whole,
            "problems": described.problems,
            "facts": described.facts,
        }
        print(json.dumps(facts, indent=2, default=str))
    else:
        table = Table(title=f"{path}: {described.kind}", title_justify="left", show_header=False)
        for name, value in described.facts.items():
            table.add_row(name, str(value))
        console.print(table)
        for problem in described.problems:
            messages.print(f"[red]Problem:[/] {problem}")
        if described.whole:
            console.print("Whole: every digest matches." if verify else "Whole (digests not recomputed; see --verify).")
    if not described.whole:
        raise typer.Exit(2)
