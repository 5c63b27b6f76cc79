"""The compiled max pooling of `pool_kernel` on all of PyTorch's threads: each takes its share of the samples."""

from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from numba.np.numpy_support import carray

from probe.arrays import NDArray
from probe.compiling import inlined
from probe.networks import pool_kernel
from probe.team import Part, address, is_pytorchs, pointer, rank, size, team

__all__ = ["is_pytorchs", "pool", "spread"]

team()  # raises ImportError where PyTorch's threads are out of reach

_pool, _spread = pool_kernel.pool, pool_kernel.spread


@inlined
def _share(start: Any, batch: Any, rows: Any, columns: Any, channels: Any, kind: Any) -> Any:
    """Returns the samples of one thread."""
    first, last = batch * rank() // size(), batch * (rank() + 1) // size()
    return carray(pointer(start), (batch, rows, columns, channels), kind)[first:last]


def _parts(kind: Any) -> tuple[Part, Part]:
    def pool_part(given: Any) -> None:
        images, pooled, places, batch, rows, columns, channels = carray(given, 7)
        _pool(
            _share(images, batch, 2 * rows, 2 * columns, channels, kind),
            _share(pooled, batch, rows, columns, channels, kind),
            _share(places, batch, rows + 1, columns + 1, channels, np.uint8),
        )

    def spread_part(given: Any) -> None:
        images, gradient, places, batch, rows, columns, channels = carray(given, 7)
        written = _share(images, batch, 2 * rows, 2 * columns, channels, kind)
        _spread(
            _share(gradient, batch, rows, columns, channels, kind),
            _share(places, batch, rows + 1, columns + 1, channels, np.uint8),
            written,
            written,
            written,
            written,
        )

    return Part(pool_part), Part(spread_part)


_PARTS = {4: _parts(np.int32), 2: _parts(np.int16)}
"""By bytes of a number."""


def pool(
    images: Int[NDArray[Any], "batch height width channel"],
    pooled: Int[NDArray[Any], "batch row column channel"],
    places: UInt8[NDArray[np.uint8], "batch _ _ channel"],
) -> None:
    """Writes each window's largest number, and its place in the window; see `pool_kernel.pool`."""
    part, _ = _PARTS[images.dtype.itemsize]
    part(address(images), address(pooled), address(places), *pooled.shape)


def spread(
    gradient: Int[NDArray[Any], "batch row column channel"],
    places: UInt8[NDArray[np.uint8], "batch _ _ channel"],
    images: Int[NDArray[Any], "batch height width channel"],
    *same: Int[NDArray[Any], "batch height width channel"],
) -> None:
    """Writes the gradient to images, which are given once more as often as `pool_kernel.spread` asks."""
    _, part = _PARTS[images.dtype.itemsize]
    part(address(images), address(gradient), address(places), *gradient.shape)
