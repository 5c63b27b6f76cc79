"""`probe export`: checkpoints and analyses for other programs."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    path: Annotated[Path, typer.Argument(help="A checkpoint, or an analysis file.")],
    to: Annotated[str, typer.Option("--to", help="pt (state_dict) for a checkpoint, parquet or csv for an analysis.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write; beside PATH by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a checkpoint as a plain state_dict, or an analysis as a table.

    Example: `probe export analysis.h5 --to parquet`
    """
    import json

    from probe.commands.console import console, number
    from probe.exporting import export as run

    written = run(path, to, out)
    size = written.stat().st_size
    if as_json:
        print(json.dumps({"path": str(written), "bytes": size}))
    else:
        console.print(f"{written}: {number(float(size))}B")
