"""A path, a folder or a glob -> checkpoint series."""

import glob
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from probe.checkpoints.base import Checkpoint, Series
from probe.checkpoints.foreign_series import Named, foreign_series
from probe.checkpoints.formats import FORMATS, SUFFIXES, is_checkpoint
from probe.checkpoints.hints import Hints
from probe.checkpoints.native import NativeCheckpoint, is_native
from probe.errors import FileError

_NATIVE = ".safetensors"
_BESIDE = re.compile(
    r"(.*[._-])?(optim(izer)?|scheduler|scaler|rng_state|replay_buffer|training_args|pytorch_variables|vecnormalize)"
)
"""Names of what libraries keep beside checkpoints."""


def open_series(paths: Sequence[Path | str], hints: Hints | None = None) -> list[Series]:
    """Opens checkpoint series: the checkpoints of one folder form one series, several folders several.

    Args:
        paths: run folders, folders above run folders, folders of checkpoints, globs, or checkpoint files.
        hints: What the user says about checkpoints of other libraries; None: nothing.

    Raises:
        FileError: nothing is there, a file is damaged, or the files of a series do not belong together.
    """
    said = Hints() if hints is None else hints
    groups: dict[str, list[Path]] = defaultdict(list)
    for given in paths:
        for file in _files(given):
            key = _key(file, said.series_by)
            if file not in groups[key]:
                groups[key].append(file)
    native = {key: files for key, files in groups.items() if _all_native(key, files)}
    foreign = {key: files for key, files in groups.items() if key not in native}
    opened = [_native_series(files, said) for _, files in sorted(native.items())]
    return [*opened, *foreign_series([Named(key, tuple(files)) for key, files in sorted(foreign.items())], said)]


def open_checkpoint(path: Path, hints: Hints | None = None) -> Checkpoint:
    """Opens one checkpoint.

    Raises:
        FileError: it is missing, a folder of several, damaged or of an unknown format.
    """
    _refuse_special(path)
    if path.is_dir() and not is_checkpoint(path):
        raise FileError(
            f"{path}: a folder; one checkpoint file is expected, such as {path}/checkpoints/step_*{_NATIVE}."
        )
    if path.exists() and not is_checkpoint(path):
        raise FileError(f"{path}: a checkpoint ending in {', '.join(SUFFIXES)} is expected. {_known()}")
    said = Hints() if hints is None else hints
    if not path.exists() or is_native(path):
        return NativeCheckpoint(path, said.modules)
    (series,) = foreign_series([Named(str(path.parent), (path,))], said)
    return series.checkpoints[0]


def formats() -> dict[str, str]:
    """Returns the checkpoint formats that can be read, with a line on each."""
    return dict(FORMATS)


def _known() -> str:
    return f"Formats: {', '.join(FORMATS)} (`probe list formats`)."


def _files(given: Path | str) -> list[Path]:
    path = Path(given)
    _refuse_special(path)
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise FileError(f"{path}: a checkpoint ending in {', '.join(SUFFIXES)} is expected. {_known()}")
        return [path]
    if path.is_dir():
        found = _inside(path)
        if not found:
            raise FileError(
                f"{path}: no checkpoint ({', '.join(f'*{each}' for each in SUFFIXES)}) in it. "
                "Give a run folder or a folder of checkpoints."
            )
        return found
    matches = [Path(match) for match in sorted(glob.glob(str(given), recursive=True))]
    if not matches:
        raise FileError(f"{given}: there is no such file or folder, and nothing matches it as a pattern.")
    return [file for match in matches for file in _files(match)]


def _refuse_special(path: Path) -> None:
    """Refuses a pipe, a socket or a device, from which reading may never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileError(f"{path}: a pipe, socket or device; a checkpoint is a file or a folder.")


def _inside(folder: Path) -> list[Path]:
    """Returns the checkpoints of a folder: itself, what is in it, our runs below it, or whatever is below it."""
    if is_checkpoint(folder):
        return [folder]
    return (
        _checkpoints(folder.iterdir())
        or sorted(folder.glob(f"**/checkpoints/*{_NATIVE}"))
        or _checkpoints(folder.rglob("*"))
    )


def _checkpoints(paths: Iterable[Path]) -> list[Path]:
    found = sorted(each for each in paths if is_checkpoint(each) and not _BESIDE.fullmatch(each.stem))
    for each in found:
        _refuse_special(each)
    # The files of a folder that is itself one checkpoint are no others.
    return [each for each in found if each.is_dir() or not is_checkpoint(each.parent)]


def _key(file: Path, series_by: str | None) -> str:
    """Returns what the files of one series share."""
    if series_by is None:
        return str(file.parent)
    match = re.search(series_by, file.as_posix())
    if match is None:
        raise FileError(f"{file}: --series-by '{series_by}' matches nothing in this path, so it belongs to no series.")
    return "-".join(group for group in match.groups() if group) if match.groups() else match[0]


def _all_native(key: str, files: Sequence[Path]) -> bool:
    ours = [each for each in files if each.suffix == _NATIVE and is_native(each)]
    if ours and len(ours) < len(files):
        other = next(each for each in files if each not in ours)
        raise FileError(
            f"{key}: {ours[0].name} is a checkpoint of `probe train` and {other.name} is not. "
            "Move one of them to a folder of its own."
        )
    return bool(ours)


def _native_series(files: Sequence[Path], hints: Hints) -> Series:
    folder = files[0].parent
    checkpoints = sorted((NativeCheckpoint(file, hints.modules) for file in files), key=lambda each: each.step)
    for earlier, later in pairwise(checkpoints):
        if earlier.step == later.step:
            raise FileError(
                f"{folder}: {earlier.path.name} and {later.path.name} are both at step {earlier.step}. "
                "Move one of them to a folder of its own."
            )
    first = checkpoints[0].metadata
    ordered: tuple[Checkpoint, ...] = tuple(checkpoints)
    return Series(folder, first.run, first.method, first.seed, ordered)
