"""A run's training log: metrics.csv beside run.toml."""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from probe.arrays import NDArray
from probe.errors import FileError
from probe.files import reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIGURATION = "run.toml"
METRICS = "metrics.csv"


@dataclass(frozen=True)
class TrainingLog:
    """The logged numbers of one run; an empty cell is NaN."""

    path: Path
    run: str
    method: str
    seed: int
    columns: dict[str, NDArray[Any]]

    def logged(self, metric: str) -> tuple[Int[NDArray[Any], "row"], Float[NDArray[Any], "row"]]:
        """Returns (steps, values) where the metric was logged; an empty cell means that it was not taken then."""
        values = self.columns.get(metric)
        if values is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        there = np.isfinite(values)
        return self.columns["step"][there].astype(np.int64), values[there]

    @property
    def shifts(self) -> list[int]:
        """Steps of the first row of every task after the first."""
        if "task" not in self.columns:
            return []
        changed = np.flatnonzero(np.diff(self.columns["task"]) != 0) + 1
        return [int(step) for step in self.columns["step"][changed]]


def is_run(path: Path) -> bool:
    """Whether a folder is a run folder."""
    return (path / CONFIGURATION).is_file()


def open_log(folder: Path) -> TrainingLog:
    """Reads a run folder's identity and metrics.

    Raises:
        FileError: a file is missing or damaged.
    """
    try:
        configuration = tomllib.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        text = (folder / METRICS).read_text(encoding="utf-8")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(
            f"{folder}: its {CONFIGURATION} or {METRICS} is damaged ({error}). Copy the run again."
        ) from error
    except OSError as error:
        raise FileError(
            f"{error.filename}: cannot be read ({reason(error)}). A run folder holds {CONFIGURATION} and {METRICS}."
        ) from error
    name, method, seed = (
        configuration.get(key, default) for key, default in (("name", ""), ("method", ""), ("seed", 0))
    )
    return TrainingLog(folder, str(name or folder.name), str(method), int(seed), _columns(folder / METRICS, text))


def _columns(path: Path, text: str) -> dict[str, NDArray[Any]]:
    rows = list(csv.reader(text.splitlines()))
    header = rows[0] if rows else []
    if "step" not in header:
        raise FileError(f"{path}: a training log starts with a header that names the column 'step'; this has none.")
    try:
        # A run that is still being written may end in half a line.
        lines = rows[1:] if text.endswith("\n") else rows[1:-1]
        whole = [row for row in lines if len(row) == len(header)]
        table = np.array([[float(cell) if cell else np.nan for cell in row] for row in whole])
    except ValueError as error:
        raise FileError(f"{path}: a cell is not a number ({error}). Numbers and empty cells are expected.") from error
    return {name: table.reshape(-1, len(header))[:, index] for index, name in enumerate(header)}
