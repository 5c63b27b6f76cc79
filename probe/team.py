"""Kernels on PyTorch's own threads, those of its OpenMP library (numba, extra `fast`).

Between its operations PyTorch's workers wait in a spin for the next one. Threads of another library would have to share
the cores with them; here a kernel is the next thing that they do.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from inspect import unwrap
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from llvmlite import binding
from numba import cfunc, types
from numba.extending import intrinsic
from threadpoolctl import ThreadpoolController

from probe.arrays import NDArray

_RANK, _SIZE = "omp_get_thread_num", "omp_get_num_threads"
_PREFIX = "plasticity_probe_"
"""Before names under which compiled code finds OpenMP's functions, which another copy of the library may offer too."""
_SIGNATURE = types.void(types.CPointer(types.int64))  # type: ignore[no-untyped-call]

rank: Any = types.ExternalFunction(_PREFIX + _RANK, types.int32())
"""The number of the thread that asks, from 0 on; for use in parts."""
size: Any = types.ExternalFunction(_PREFIX + _SIZE, types.int32())
"""How many threads compute on the parts; for use in parts."""


def _pointer(context: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], target.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


pointer: Any = intrinsic(_pointer)
"""Turns an address into a pointer; for use in parts."""


class Part:
    """What each thread of the team does: a function of a few integers, compiled when it is first called.

    The function gets a pointer to the integers. It must not raise.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        """Takes the function; it may use `rank`, `size` and `pointer`."""
        self._function = function

    def __call__(self, *arguments: int) -> None:
        """Runs the function on every thread of the team, and waits until all are done."""
        given = np.array(arguments, np.int64)
        team().GOMP_parallel(_compiled(self._function).address, given.ctypes.data, torch.get_num_threads(), 0)


@cache
def team() -> ctypes.CDLL:
    """Returns the OpenMP library that PyTorch computes with.

    Raises:
        ImportError: it is another library than GNU's, or there are several and none lies with PyTorch.
    """
    loaded = [each["filepath"] for each in ThreadpoolController().select(user_api="openmp").info()]
    own = [each for each in loaded if Path(torch.__file__).parent in Path(each).parents]
    found = own or loaded
    if len(found) != 1:
        raise ImportError(f"PyTorch's OpenMP library is not known: {len(found)} are loaded.")
    try:
        library = ctypes.CDLL(found[0])
        library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
        for name in (_RANK, _SIZE):
            binding.add_symbol(_PREFIX + name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    except (OSError, AttributeError) as error:
        raise ImportError(f"{found[0]} is no OpenMP library of GNU's: {error}") from error
    return library


def is_pytorchs() -> bool:
    """Whether the library would use as many threads as PyTorch was told to; else they are not PyTorch's."""
    return cast(int, team().omp_get_max_threads()) == torch.get_num_threads()


@cache
def _compiled(function: Callable[[Any], None]) -> Any:
    team()  # gives compiled code its names
    # Not kept on disk: there it would outlive a change of the kernels that it was linked with.
    return cfunc(_SIGNATURE)(unwrap(function))


def address(array: NDArray[Any]) -> int:
    """Returns where an array's numbers begin."""
    return int(array.ctypes.data)
