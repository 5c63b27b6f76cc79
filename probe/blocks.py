"""A dataset's rows block by block: a few threads read and decompress ahead."""

import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.errors import FileError

_BLOCK = 64
"""Rows read at once where the file's own chunks cannot be used."""
_WORKERS = 2
_AHEAD = 8
"""Blocks that are read and decompressed before they are asked for."""

Array = NDArray[Any]
Block = tuple[int, int]
"""First row and the row after the last."""


def read_ahead(dataset: Any, path: Path) -> Iterator[tuple[int, Array]]:
    """Yields (first row, rows) of an open HDF5 dataset, in order.

    Args:
        dataset: Samples first.
        path: Of its file, for messages.

    Raises:
        FileError: a block is damaged.
    """
    direct = _is_direct(dataset)
    size = dataset.chunks[0] if direct else _BLOCK
    read = _read_chunk if direct else _read_rows
    samples = len(dataset)
    waiting: deque[tuple[int, Future[Array]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for first in range(0, samples, size):
                block = (first, min(first + size, samples))
                waiting.append((first, pool.submit(read, dataset, block)))
                if len(waiting) >= _AHEAD:
                    yield _result(path, *waiting.popleft())
            while waiting:
                yield _result(path, *waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _is_direct(dataset: Any) -> bool:
    """Whether chunks are whole rows with gzip alone, so that they can be decompressed outside HDF5's one lock."""
    return bool(
        dataset.chunks is not None
        and dataset.chunks[1:] == dataset.shape[1:]
        and dataset.compression == "gzip"
        and not (dataset.shuffle or dataset.fletcher32 or dataset.scaleoffset)
        and dataset.dtype.isnative
        and dataset.id.get_num_chunks() == -(-dataset.shape[0] // dataset.chunks[0])
    )


def _read_chunk(dataset: Any, block: Block) -> Array:
    filters_skipped, raw = dataset.id.read_direct_chunk((block[0], *(0,) * (dataset.ndim - 1)))
    size = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    content = raw if filters_skipped else zlib.decompress(raw, bufsize=size)
    rows: Array = np.frombuffer(content, dataset.dtype).reshape(dataset.chunks)
    return rows[: block[1] - block[0]]


def _read_rows(dataset: Any, block: Block) -> Array:
    return np.asarray(dataset[block[0] : block[1]])


def _result(path: Path, first: int, future: "Future[Array]") -> tuple[int, Array]:
    try:
        return first, future.result()
    except (OSError, ValueError, RuntimeError, zlib.error) as error:
        raise FileError(f"{path}: damaged from row {first} on ({error}). Collect it again.") from error
