"""metrics.csv and TensorBoard's events: the same values under the same names, cut back to the byte on resume."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from probe.errors import FileError
from probe.events import NAME, EventFile, Image
from probe.files import reason

METRICS = "metrics.csv"
COUNTERS = ("step", "frames", "updates", "task")
"""The first columns; TensorBoard has the step only."""


class Logs:
    """Two files that grow by one row an update. A value of None is an empty cell, and no event."""

    def __init__(self, folder: Path, columns: Sequence[str], sizes: Mapping[str, int] | None = None) -> None:
        """Starts both files, or continues them at `sizes`.

        Args:
            folder: where they are.
            columns: the header after the counters; it stays for the whole run.
            sizes: what `sizes` said when the state was saved that training continues from.

        Raises:
            FileError: a file cannot be written, is shorter than it was, or has other columns.
        """
        self.columns = tuple(columns)
        self._paths = {name: folder / name for name in (METRICS, NAME)}
        self._files = {
            name: _opened(path, None if sizes is None else sizes[name]) for name, path in self._paths.items()
        }
        header = (*COUNTERS, *self.columns)
        if sizes is None:
            self._write_line(header)
        elif _header(self._paths[METRICS]) != header:
            raise FileError(
                f"{self._paths[METRICS]}: its columns are not those of this version. Resume with the version of "
                "plasticity-probe that run.toml names."
            )
        with _explained(self._paths[NAME]):
            self._events = EventFile(self._files[NAME], fresh=sizes is None)

    def write(
        self, counters: Mapping[str, int], values: Mapping[str, float | None], images: Mapping[str, Image] | None = None
    ) -> None:
        """Adds a row.

        Args:
            counters: by `COUNTERS`.
            values: by name; what is left out is None.
            images: by name; they go to TensorBoard alone.

        Raises:
            KeyError: a value has no column.
            FileError: the disk is full.
        """
        if unknown := set(values) - set(self.columns):
            raise KeyError(f"metrics without a column: {sorted(unknown)}")
        cells = [values.get(name) for name in self.columns]
        self._write_line(
            (*(str(counters[name]) for name in COUNTERS), *("" if v is None else f"{v:.7g}" for v in cells))
        )
        with _explained(self._paths[NAME]):
            self._events.write(counters["step"], dict(zip(self.columns, cells, strict=True)), images)

    def sizes(self) -> dict[str, int]:
        """Returns how many bytes each file has."""
        return {name: file.tell() for name, file in self._files.items()}

    def close(self) -> None:
        """Closes both files; what could not be written was reported when it was."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()

    def _write_line(self, cells: Sequence[str]) -> None:
        with _explained(self._paths[METRICS]):
            self._files[METRICS].write((",".join(cells) + "\n").encode())
            self._files[METRICS].flush()


def _opened(path: Path, size: int | None) -> BinaryIO:
    with _explained(path):
        if size is None:
            return path.open("wb")
        file = path.open("r+b")
        if file.seek(0, os.SEEK_END) < size:
            file.close()
            raise FileError(f"{path}: {size} bytes were written, the file has fewer. Train again with another --out.")
        file.truncate(size)
        file.seek(size)
        return file


def _header(path: Path) -> tuple[str, ...]:
    with path.open(encoding="utf-8") as file:
        return tuple(file.readline().rstrip("\n").split(","))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: cannot be written ({reason(error)}). Free space, then train on with --resume."
        ) from error
