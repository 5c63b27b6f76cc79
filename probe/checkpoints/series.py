"""A path, a folder or a glob -> checkpoint series."""

import glob
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from probe.checkpoints.base import Checkpoint, Series
from probe.checkpoints.native import NativeCheckpoint
from probe.errors import FileError

_SUFFIX = ".safetensors"


def open_series(paths: Sequence[Path | str]) -> list[Series]:
    """Opens checkpoint series: the checkpoints of one folder form one series, several folders several.

    Args:
        paths: run folders, folders above run folders, folders of checkpoints, globs, or checkpoint files.

    Raises:
        FileError: nothing is there, a file is damaged, or two checkpoints of a series have the same step.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for given in paths:
        for file in _files(given):
            if file not in folders[file.parent]:
                folders[file.parent].append(file)
    return [_series(folder, files) for folder, files in sorted(folders.items())]


def open_checkpoint(path: Path) -> NativeCheckpoint:
    """Opens one checkpoint file.

    Raises:
        FileError: it is missing, a folder, damaged or of an unknown format.
    """
    if path.is_dir():
        raise FileError(
            f"{path}: a folder; one checkpoint file is expected, such as {path}/checkpoints/step_*{_SUFFIX}."
        )
    if path.exists() and path.suffix != _SUFFIX:
        raise FileError(f"{path}: a checkpoint ending in {_SUFFIX} is expected. {_known()}")
    return NativeCheckpoint(path)


def formats() -> dict[str, str]:
    """Returns the checkpoint formats that can be read, with a line on each."""
    return {"native": "safetensors files written by `probe train`: weights, buffers and the network's specification"}


def _known() -> str:
    return f"Formats: {', '.join(formats())} (`probe list formats`)."


def _files(given: Path | str) -> list[Path]:
    path = Path(given)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(path.glob(f"*{_SUFFIX}")) or sorted(path.glob(f"**/checkpoints/*{_SUFFIX}"))
        if not found:
            raise FileError(f"{path}: no checkpoint (*{_SUFFIX}) in it. Give a run folder or a folder of checkpoints.")
        return found
    matches = [Path(match) for match in sorted(glob.glob(str(given), recursive=True))]
    if not matches:
        raise FileError(f"{given}: there is no such file or folder, and nothing matches it as a pattern.")
    return [file for match in matches for file in _files(match)]


def _series(folder: Path, files: list[Path]) -> Series:
    checkpoints = sorted((open_checkpoint(file) for file in files), key=lambda checkpoint: checkpoint.step)
    for earlier, later in pairwise(checkpoints):
        if earlier.step == later.step:
            raise FileError(
                f"{folder}: {earlier.path.name} and {later.path.name} are both at step {earlier.step}. "
                "Move one of them to a folder of its own."
            )
    first = checkpoints[0].metadata
    ordered: tuple[Checkpoint, ...] = tuple(checkpoints)
    return Series(folder, first.run, first.method, first.seed, ordered)
