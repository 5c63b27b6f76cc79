"""Checkpoints and analyses in forms that need nothing of ours to be read."""

import io
from collections.abc import Callable
from pathlib import Path

import torch

from probe.checkpoints import open_series
from probe.errors import FileError, UnknownNameError
from probe.files import write_whole
from probe.results import open_analysis
from probe.results.tabular import rows_as_csv, rows_as_parquet


def export(path: str | Path, to: str, out: str | Path | None = None) -> Path:
    """Writes a checkpoint as a plain state_dict, or the rows of an analysis as a table.

    Args:
        path: A checkpoint for `pt`; an analysis file for `csv` and `parquet`.
        to: `pt` (what `torch.save` makes of a dict of tensors), `csv` or `parquet`.
        out: The file to write, never an existing one; None: beside `path`, with another ending.

    Returns:
        The file that was written.

    Raises:
        UnknownNameError: there is no such format.
        FileError: `path` is nothing that can be exported so, or `out` exists or cannot be written.
        MissingExtraError: Parquet needs the extra `export`.
    """
    if to not in EXPORTS:
        raise UnknownNameError("export format", to, EXPORTS)
    source = Path(path)
    target = source.with_suffix(f".{to}") if out is None else Path(out)
    if target.exists():
        raise FileError(f"{target}: exists already and is never overwritten. Choose another --out, or remove it first.")
    write_whole(target, EXPORTS[to](source))
    return target


def _state_dict(path: Path) -> bytes:
    series = open_series([path])
    checkpoints = [checkpoint for each in series for checkpoint in each.checkpoints]
    if len(checkpoints) != 1:
        raise FileError(f"{path}: {len(checkpoints)} checkpoints; one is expected, such as {checkpoints[-1].path}.")
    content = io.BytesIO()
    torch.save(dict(checkpoints[0].network().state_dict()), content)
    return content.getvalue()


def _csv(path: Path) -> bytes:
    with open_analysis(path) as analysis:
        return rows_as_csv([analysis]).encode()


def _parquet(path: Path) -> bytes:
    with open_analysis(path) as analysis:
        return rows_as_parquet(analysis.rows)


EXPORTS: dict[str, Callable[[Path], bytes]] = {"pt": _state_dict, "csv": _csv, "parquet": _parquet}
"""Format -> what makes the file's content."""
