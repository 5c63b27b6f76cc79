"""The compiled form of a batch's sums: every quantity in one pass over the output (numba, extra `fast`).

It is single-threaded on purpose: it works at the speed of memory already, and starts no thread pool beside PyTorch's.
The interpreter lock is released.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from probe.arrays import NDArray
from probe.compiling import compiled, inlined

PARTIAL = 256
"""Values that are added up in float32 before float64 takes over."""

_ONE, _NONE, _INFINITY = np.float32(1), np.float32(0), np.float32(np.inf)


@inlined
def _add_row(values: Any, sample: int, row: int, sums: Any) -> None:
    for unit in range(values.shape[2]):
        x = values[sample, row, unit]
        sums[0, unit] += x
        sums[1, unit] += abs(x)
        sums[2, unit] += x * x
        sums[3, unit] += _ONE if x > 0 else _NONE
        sums[4, unit] += _ONE if x == 0 else _NONE
        sums[5, unit] = x if x < sums[5, unit] else sums[5, unit]
        sums[6, unit] = x if x > sums[6, unit] else sums[6, unit]


@inlined
def _add_four_rows(values: Any, sample: int, row: int, sums: Any) -> None:
    # The sums are loaded and stored once for four rows: stores bound the speed.
    for unit in range(values.shape[2]):
        x, y = values[sample, row, unit], values[sample, row + 1, unit]
        z, w = values[sample, row + 2, unit], values[sample, row + 3, unit]
        sums[0, unit] += (x + y) + (z + w)
        sums[1, unit] += (abs(x) + abs(y)) + (abs(z) + abs(w))
        sums[2, unit] += (x * x + y * y) + (z * z + w * w)
        above = (_ONE if x > 0 else _NONE) + (_ONE if y > 0 else _NONE)
        sums[3, unit] += above + ((_ONE if z > 0 else _NONE) + (_ONE if w > 0 else _NONE))
        at = (_ONE if x == 0 else _NONE) + (_ONE if y == 0 else _NONE)
        sums[4, unit] += at + ((_ONE if z == 0 else _NONE) + (_ONE if w == 0 else _NONE))
        low, lower = x if x < y else y, z if z < w else w
        low = low if low < lower else lower
        sums[5, unit] = low if low < sums[5, unit] else sums[5, unit]
        high, higher = x if x > y else y, z if z > w else w
        high = high if high > higher else higher
        sums[6, unit] = high if high > sums[6, unit] else sums[6, unit]


@compiled("nsz", "contract")
def add_rows(
    values: Float[NDArray[np.float32], "batch position unit"],
    table: Float[NDArray[np.float64], "quantity unit"],
    per_sample: Float[NDArray[np.float64], "batch unit"],
) -> None:
    """Adds a batch, units last and contiguous, into the table and into each sample's sums over positions."""
    samples, positions, units = values.shape
    sums = np.zeros((7, units), np.float32)
    sums[5], sums[6] = _INFINITY, -_INFINITY
    for sample in range(samples):
        for start in range(0, positions, PARTIAL):
            stop = min(start + PARTIAL, positions)
            fours = start + (stop - start) // 4 * 4
            for row in range(start, fours, 4):
                _add_four_rows(values, sample, row, sums)
            for row in range(fours, stop):
                _add_row(values, sample, row, sums)
            for unit in range(units):
                per_sample[sample, unit] += sums[0, unit]
                for quantity in range(5):
                    table[quantity, unit] += sums[quantity, unit]
                    sums[quantity, unit] = 0
    for unit in range(units):
        table[5, unit] = min(table[5, unit], sums[5, unit])
        table[6, unit] = max(table[6, unit], sums[6, unit])


@compiled("reassoc", "nsz", "contract")
def _sums(values: Any) -> Any:
    total, total_abs, total_square = _NONE, _NONE, _NONE
    for index in range(len(values)):
        x = values[index]
        total += x
        total_abs += abs(x)
        total_square += x * x
    return total, total_abs, total_square


@compiled()
def _counts(values: Any) -> Any:
    positive, zero = np.int32(0), np.int32(0)
    for index in range(len(values)):
        x = values[index]
        positive += np.int32(x > 0)
        zero += np.int32(x == 0)
    return positive, zero


@compiled("reassoc", "nsz", "nnan")
def _extremes(values: Any) -> Any:
    # Without `nnan` the comparisons stay scalar; what NaN does here does not matter, its sum marks the unit.
    low, high = _INFINITY, -_INFINITY
    for index in range(len(values)):
        x = values[index]
        low = x if x < low else low
        high = x if x > high else high
    return low, high


@compiled()
def add_maps(
    values: Float[NDArray[np.float32], "batch unit position"],
    table: Float[NDArray[np.float64], "quantity unit"],
    per_sample: Float[NDArray[np.float64], "batch unit"],
) -> None:
    """Adds a batch, positions last and contiguous, into the table and into each sample's sums over positions."""
    samples, units, positions = values.shape
    for sample in range(samples):
        for unit in range(units):
            for start in range(0, positions, PARTIAL):
                part = values[sample, unit, start : min(start + PARTIAL, positions)]
                total, total_abs, total_square = _sums(part)
                positive, zero = _counts(part)
                low, high = _extremes(part)
                per_sample[sample, unit] += total
                table[0, unit] += total
                table[1, unit] += total_abs
                table[2, unit] += total_square
                table[3, unit] += positive
                table[4, unit] += zero
                table[5, unit] = min(table[5, unit], low)
                table[6, unit] = max(table[6, unit], high)
