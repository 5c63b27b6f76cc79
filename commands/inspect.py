"""`probe inspect`: what a file or folder holds, and whether it is whole."""

from pathlib import Path
from typing import Annotated

import typer

from probe.commands.foreign import (
    Layout,
    Model,
    ModelArgs,
    Modules,
    ObservationMean,
    ObservationVariance,
    SeriesBy,
    TrustPickle,
)


def inspect(
    path: Annotated[Path, typer.Argument(help="A run folder, checkpoint, observation set or analysis file.")],
    verify: Annotated[bool, typer.Option("--verify", help="Recompute every digest (reads every byte).")] = False,
    model: Model = None,
    model_args: ModelArgs = None,
    module: Modules = None,
    series_by: SeriesBy = None,
    layout: Layout = None,
    obs_mean: ObservationMean = None,
    obs_var: ObservationVariance = None,
    trust_pickle: TrustPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as JSON.")] = False,
) -> None:
    """Show what a file or folder holds, and whether it is whole.

    Example: `probe inspect runs/demo/baseline/seed0 --verify`
    """
    import json

    from rich.table import Table

    from probe.checkpoints.hints import parse_hints
    from probe.commands.console import console, messages
    from probe.inspection import describe

    hints = parse_hints(model, model_args or [], module or [], series_by, layout, obs_mean, obs_var, trust_pickle)
    described = describe(path, verify, hints)
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
