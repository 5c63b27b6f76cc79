"""Kernels that numba compiles (extra `fast`): whether they can be had."""

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def kernels(module: str) -> ModuleType | None:
    """Returns a module of compiled kernels, or None without a numba that compiles."""
    try:
        from numba import config

        found = import_module(module)
    except ImportError:
        return None
    return None if getattr(config, "DISABLE_JIT", False) else found
