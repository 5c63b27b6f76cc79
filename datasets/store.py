"""Writing observation sets: chunks are compressed by threads and put into the HDF5 file as they are."""

import hashlib
import json
import os
import re
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from probe.errors import FileError
from probe.files import replace_on_success
from probe.observations import FORMAT, FORMAT_VERSION, content_digest

CHUNK = 64
"""Observations in a chunk."""
_LEVEL = 1
_WORKERS = 2
_WAITING = 8
"""Chunks that may wait to be written; the caller is held up beyond that, so memory stays flat."""
_PACKAGES = ("plasticity-probe", "numpy", "h5py", "gymnasium", "procgen", "procgen-mirror")

Array = NDArray[Any]


class ObservationWriter:
    """Takes observations row by row; made by `write_observations`."""

    def __init__(self, file: Any, samples: int, observation: Array, columns: Mapping[str, Array]) -> None:
        """Prepares the datasets.

        Args:
            file: an open, empty HDF5 file.
            samples: rows that will be appended, exactly.
            observation: one observation, for its shape and dtype.
            columns: a row or more of every column beside `returns`, for their shapes and dtypes.
        """
        self.samples = samples
        self.written = 0
        self._file = file
        shape, chunk = observation.shape, min(CHUNK, samples)
        self._dataset = file.create_dataset(
            "observations",
            (samples, *shape),
            observation.dtype,
            chunks=(chunk, *shape),
            compression="gzip",
            compression_opts=_LEVEL,
        )
        self._chunk = np.zeros((chunk, *shape), observation.dtype)
        self._columns = {name: np.zeros((samples, *rows.shape[1:]), rows.dtype) for name, rows in columns.items()}
        self._columns["returns"] = np.full(samples, np.nan, np.float32)
        self._sha = hashlib.sha256()
        self._compressors = ThreadPoolExecutor(_WORKERS)
        self._scribe = ThreadPoolExecutor(1)  # one thread, so that chunks are hashed and written in order
        self._waiting: deque[Future[None]] = deque()

    @property
    def left(self) -> int:
        """Rows that are still to come."""
        return self.samples - self.written

    def append(self, observations: Array, columns: Mapping[str, Array]) -> range:
        """Appends rows and returns their numbers.

        Args:
            observations: (row, ...) of the shape and dtype that the writer was made for; at most `left` rows.
            columns: one value per row for every column but `returns`, which is NaN until `set_returns`.

        Raises:
            OSError: the disk is full.
        """
        rows = range(self.written, self.written + len(observations))
        for name, values in columns.items():
            self._columns[name][rows.start : rows.stop] = values
        while len(observations):
            filled = self.written % len(self._chunk)
            taken = min(len(observations), len(self._chunk) - filled)
            self._chunk[filled : filled + taken] = observations[:taken]
            observations = observations[taken:]
            self.written += taken
            if filled + taken == len(self._chunk) or not self.left:
                self._submit(filled + taken)
        return rows

    def set_returns(self, rows: Array, returns: Array) -> None:
        """Fills in the discounted returns of rows that were appended."""
        self._columns["returns"][rows] = returns

    def _submit(self, filled: int) -> None:
        chunk, first = self._chunk, self.written - filled
        self._chunk = np.zeros_like(chunk)
        compressed = self._compressors.submit(zlib.compress, chunk.data.cast("B"), _LEVEL)
        self._waiting.append(self._scribe.submit(self._write, first, chunk[:filled], compressed))
        if len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def _write(self, first: int, rows: Array, compressed: "Future[bytes]") -> None:
        self._sha.update(rows.data.cast("B"))
        offset = (first, *(0,) * (rows.ndim - 1))
        self._dataset.id.write_direct_chunk(offset, compressed.result())

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Waits for the last chunk and writes columns, attributes and digests; `complete` comes last."""
        while self._waiting:
            self._waiting.popleft().result()
        for name, values in self._columns.items():
            _write_column(self._file, name, values)
        plain = {"format": FORMAT, "format_version": FORMAT_VERSION, **attributes, "versions": json.dumps(_versions())}
        plain |= {"samples": self.samples, "sha256": self._sha.hexdigest(), "complete": True}
        plain["digest"] = content_digest(self._columns, plain)
        self._file.attrs.update(plain)

    def close(self) -> None:
        """Ends the threads; what waits is dropped."""
        for pool in (self._scribe, self._compressors):
            pool.shutdown(cancel_futures=True)


def _write_column(file: Any, name: str, values: Array) -> None:
    shape = values.shape
    dataset = file.create_dataset(name, shape, values.dtype, chunks=shape, compression="gzip", compression_opts=_LEVEL)
    # Straight to the disk: where a full disk stops HDF5 from emptying its own buffers, it crashes at exit.
    dataset.id.write_direct_chunk((0,) * len(shape), zlib.compress(values.data.cast("B"), _LEVEL))


@contextmanager
def write_observations(
    path: Path, samples: int, observation: Array, columns: Mapping[str, Array], attributes: Mapping[str, Any]
) -> Iterator[ObservationWriter]:
    """Opens a writer; the file takes its name if the block appends `samples` rows and succeeds, else nothing is left.

    Args:
        path: where the set shall be; must not exist.
        samples: rows that the block appends.
        observation: one observation, for its shape and dtype.
        columns: a row or more of every column beside `returns`, for their shapes and dtypes.
        attributes: provenance, as HDF5 attributes.

    Raises:
        FileError: the file exists, its folder cannot be written, or the disk is full.
    """
    refuse_existing(path)
    with replace_on_success(path) as partial:
        try:
            with h5py.File(partial, "w") as file:
                writer = ObservationWriter(file, samples, observation, columns)
                try:
                    yield writer
                    if writer.left:
                        raise ValueError(f"{writer.left} of {samples} rows were not appended.")
                    writer.finish(attributes)
                finally:
                    writer.close()
        except (OSError, RuntimeError) as error:
            raise _system_error(error) or error from error


def _system_error(error: Exception) -> OSError | None:
    """Returns the operating system's error that HDF5 reports in the midst of its own words, if there is one."""
    found = re.search(r"errno = (\d+)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def refuse_existing(path: Path) -> None:
    """Raises `FileError` where something is in the way of a new file."""
    if path.exists() or path.is_symlink():
        raise FileError(f"{path}: exists already and is never overwritten. Choose another --out, or remove it first.")
    if path.parent.exists() and not path.parent.is_dir():
        raise FileError(f"{path}: {path.parent} is a file, a folder is expected. Choose another --out.")


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
