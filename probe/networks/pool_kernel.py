"""The compiled form of max pooling over 3 x 3 windows, two pixels apart (numba, extra `fast`).

Numbers come as their bits: int32 for float32, and int16 for bfloat16, which is a float32's upper half. Channels come
last and are contiguous, as the inner loops go over them. Sides are even: window (i, j) has its middle at pixel
(2 i, 2 j), so the first row and column of windows reach one pixel beyond the image and the last ones do not.
"""

from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from probe.arrays import NDArray
from probe.compiling import Apart, compiled, inlined

NOWHERE = np.uint8(255)
"""A place in no window."""
_NOTHING = np.float32(0)


@inlined
def _number(bits: Any, shift: Any) -> Any:
    return np.uint32(np.uint32(bits) << np.uint32(shift)).view(np.float32)


@inlined
def _bits(number: Any, shift: Any) -> Any:
    return np.float32(number).view(np.uint32) >> np.uint32(shift)


@inlined
def _rounded(number: Any, shift: Any) -> Any:
    """Rounds to the nearest bfloat16, of two equally near ones to the even one; float32 stays."""
    bits = np.float32(number).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    nearest = np.uint32(np.uint32(np.uint32(bits + np.uint32(0x7FFF)) + odd) & np.uint32(0xFFFF0000))
    return number if shift == 0 or number != number else nearest.view(np.float32)


@compiled(pipeline=Apart)
def pool(
    images: Int[NDArray[Any], "batch height width channel"],
    pooled: Int[NDArray[Any], "batch height/2 width/2 channel"],
    places: UInt8[NDArray[np.uint8], "batch height/2+1 width/2+1 channel"],
) -> None:
    """Writes each window's largest number, and its place in the window, 0 to 8 row by row.

    The first of equal numbers is taken; a NaN beats all numbers, and the last NaN the others. Of `places`, the last row
    and the last column are `NOWHERE`.
    """
    batch, rows, columns, channels = pooled.shape
    shift = 32 - np.iinfo(images.dtype).bits
    largest = np.empty((columns, channels), np.float32)  # stores of 4 bytes, so that 16 channels fill a vector
    for sample in range(batch):
        places[sample, rows] = NOWHERE
        for i in range(rows):
            places[sample, i, columns] = NOWHERE
            for j in range(columns):
                first = np.int32(4 - 3 * (i > 0) - (j > 0))
                for channel in range(channels):
                    best = _number(images[sample, max(2 * i - 1, 0), max(2 * j - 1, 0), channel], shift)
                    place = first
                    for other in range(1, 9):
                        inside = ((i > 0) | (other > 2)) & ((j > 0) | (other % 3 > 0))
                        row, column = max(2 * i - 1 + other // 3, 0), max(2 * j - 1 + other % 3, 0)
                        number = _number(images[sample, row, column, channel], shift)
                        larger = inside & ((number > best) | (number != number))
                        best = number if larger else best
                        place = np.int32(other) if larger else place
                    largest[j, channel] = best
                    places[sample, i, j, channel] = np.uint8(place)
            for j in range(columns):
                for channel in range(channels):
                    pooled[sample, i, j, channel] = _bits(largest[j, channel], shift)


@inlined
def _if_at(place: Any, expected: Any, gradient: Any) -> Any:
    return gradient if place == expected else _NOTHING


@compiled(pipeline=Apart)
def spread(
    gradient: Int[NDArray[Any], "batch height/2 width/2 channel"],
    places: UInt8[NDArray[np.uint8], "batch height/2+1 width/2+1 channel"],
    images: Int[NDArray[Any], "batch height width channel"],
    right: Int[NDArray[Any], "batch height width channel"],
    below: Int[NDArray[Any], "batch height width channel"],
    across: Int[NDArray[Any], "batch height width channel"],
) -> None:
    """Writes the gradient to images: each pixel has the sum of the gradients of the windows that took it.

    Windows are added row by row, and in bfloat16 each sum is rounded, as PyTorch does.

    Args:
        gradient: to the windows' numbers.
        places: from `pool`.
        images: what is written.
        right: `images` once more; each of the four is written at another pixel of every 2 x 2, and given by itself it
            tells the compiler that no write touches another.
        below: `images` once more.
        across: `images` once more.
    """
    batch, rows, columns, channels = gradient.shape
    shift = 32 - np.iinfo(gradient.dtype).bits
    numbers = np.empty((rows, columns, channels), np.float32)
    for sample in range(batch):
        for i in range(rows):
            for j in range(columns):
                for channel in range(channels):
                    numbers[i, j, channel] = _number(gradient[sample, i, j, channel], shift)
        for i in range(rows):
            next_i = min(i + 1, rows - 1)
            for j in range(columns):
                next_j = min(j + 1, columns - 1)
                for channel in range(channels):
                    # The window around the first pixel of the 2 x 2, and its neighbours right, below and across.
                    a, a_at = numbers[i, j, channel], places[sample, i, j, channel]
                    b, b_at = numbers[i, next_j, channel], places[sample, i, j + 1, channel]
                    c, c_at = numbers[next_i, j, channel], places[sample, i + 1, j, channel]
                    d, d_at = numbers[next_i, next_j, channel], places[sample, i + 1, j + 1, channel]
                    # From 0 on, so that no sum is -0.0.
                    own = _NOTHING + _if_at(a_at, 4, a)
                    of_two = _rounded(_NOTHING + _if_at(a_at, 5, a) + _if_at(b_at, 3, b), shift)
                    of_both = _rounded(_NOTHING + _if_at(a_at, 7, a) + _if_at(c_at, 1, c), shift)
                    of_four = _rounded(_NOTHING + _if_at(a_at, 8, a) + _if_at(b_at, 6, b), shift)
                    of_four = _rounded(of_four + _if_at(c_at, 2, c), shift)
                    of_four = _rounded(of_four + _if_at(d_at, 0, d), shift)
                    images[sample, 2 * i, 2 * j, channel] = _bits(own, shift)
                    right[sample, 2 * i, 2 * j + 1, channel] = _bits(of_two, shift)
                    below[sample, 2 * i + 1, 2 * j, channel] = _bits(of_both, shift)
                    across[sample, 2 * i + 1, 2 * j + 1, channel] = _bits(of_four, shift)
