"""Rows that are only ever added, in memory-mapped files that a resumed run goes on with."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from probe.arrays import NDArray
from probe.errors import FileError
from probe.files import reason

_FILE_BYTES = 2**28
"""Most bytes of a file."""
_NAME = "rows_{:06d}.bin"


class RowLog:
    """Numbered rows of one structured type. A row is never changed; whole files of old rows can be dropped.

    The state is the number of rows and the SHA-256 of each file's rows; no file is copied. After a resume, rows that
    were written later than the state are written again. Without a folder the files are arrays in memory.
    """

    def __init__(self, row: np.dtype[Any], rows_per_file: int) -> None:
        """Starts empty, in memory; large rows have fewer in a file."""
        self.row = row
        self.rows_per_file = max(1, min(rows_per_file, _FILE_BYTES // row.itemsize))
        self.written = 0
        self._folder: Path | None = None
        self._borrowed = False
        self._files: dict[int, NDArray[Any]] = {}
        self._digests: dict[int, Any] = {}

    def store_in(self, folder: Path) -> None:
        """Puts the files into a folder from now on; none has been written yet."""
        self._folder = folder

    def borrow(self, folder: Path) -> None:
        """Reads another log's files from a folder that stays as it is; what is added goes to memory."""
        self._folder, self._borrowed = folder, True

    def append(self, row: NDArray[Any]) -> None:
        """Adds a row.

        Raises:
            FileError: the disk is full or the folder cannot be written.
        """
        number, place = divmod(self.written, self.rows_per_file)
        if place == 0:
            self._files[number], self._digests[number] = self._created(number), hashlib.sha256()
        self._files[number][place] = row
        self._digests[number].update(row.tobytes())
        self.written += 1

    def read(
        self, field: str, rows: Int64[NDArray[np.int64], "..."], columns: Int64[NDArray[np.int64], "..."]
    ) -> NDArray[Any]:
        """Returns a field's entries at (row, column), in the shape of both."""
        numbers = rows // self.rows_per_file
        kind, shape = self.row[field].subdtype or (self.row[field], ())
        found = np.empty((*rows.shape, *shape[1:]), kind)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            found[here] = self._files[number][field][rows[here] % self.rows_per_file, columns[here]]
        return found

    def keep(self, ranges: Iterable[range]) -> None:
        """Drops the files that hold no row of any of the ranges."""
        size = self.rows_per_file
        needed = {number for each in ranges if each for number in range(each[0] // size, each[-1] // size + 1)}
        for number in self._files.keys() - needed:
            del self._files[number], self._digests[number]
        if self._folder is not None and not self._borrowed:
            # Not only files that are mapped here: after a resume, some are there for other states.
            names = {_NAME.format(number) for number in needed}
            for path in self._folder.glob(_NAME.replace("{:06d}", "*")):
                if path.name not in names:
                    path.unlink()

    def get_state(self, since: int) -> dict[str, Any]:
        """Returns the number of rows and the digests of the files that hold rows from `since` on."""
        first = since // self.rows_per_file
        digests = {number: each.hexdigest() for number, each in sorted(self._digests.items()) if number >= first}
        return {"written": self.written, "digests": {str(number): digest for number, digest in digests.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues where `get_state` was called, with the files as they were written until then.

        Raises:
            FileError: a file is missing or holds other rows.
        """
        self.written = state["written"]
        for name, expected in state["digests"].items():
            number = int(name)
            self._files[number] = self._opened(number)
            rows = self._files[number][: self.written - number * self.rows_per_file]
            self._digests[number] = hashlib.sha256(rows.view(np.uint8).data)
            if self._digests[number].hexdigest() != expected:
                raise FileError(f"{self._path(number)}: not the rows that the state was saved with. Train anew.")

    def _path(self, number: int) -> Path:
        return (self._folder or Path()) / _NAME.format(number)

    def _created(self, number: int) -> NDArray[Any]:
        if self._folder is None or self._borrowed:
            return np.zeros(self.rows_per_file, self.row)
        path, size = self._path(number), self.rows_per_file * self.row.itemsize
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                # All of it now: with a disk that fills up later, writing to the mapping would kill the process.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
        except OSError as error:
            raise FileError(f"{path}: {size} bytes cannot be had ({reason(error)}). Free space and resume.") from error
        return self._opened(number)

    def _opened(self, number: int) -> NDArray[Any]:
        try:
            if self._folder is None:
                return self._files[number]
            mode: Literal["c", "r+"] = "c" if self._borrowed else "r+"  # c: changes stay in this process
            return np.memmap(self._path(number), self.row, mode, shape=(self.rows_per_file,))
        except (OSError, ValueError, KeyError) as error:
            raise FileError(f"{self._path(number)}: cannot be read ({error}). Train anew.") from error
