"""Environment states as bytes: named arrays in the safetensors layout, so that reading one runs no code."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from probe.errors import ConfigurationError


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Returns the arrays as bytes; equal arrays give equal bytes."""
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def unpack(state: bytes) -> dict[str, NDArray[Any]]:
    """Returns the arrays of `pack`.

    Raises:
        ConfigurationError: the bytes are no such state.
    """
    try:
        return {name: array.copy() for name, array in load(state).items()}  # writable, whatever safetensors gives
    except SafetensorError as error:
        raise ConfigurationError(f"An environment state of {len(state)} bytes cannot be read ({error}).") from error


def join(parts: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """Returns byte strings of any lengths as two arrays."""
    return {
        "bytes": np.frombuffer(b"".join(parts), np.uint8),
        "lengths": np.array([len(part) for part in parts], np.int64),
    }


def split(arrays: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """Undoes `join`."""
    ends = np.cumsum(arrays["lengths"])
    return [part.tobytes() for part in np.split(arrays["bytes"], ends[:-1])]
