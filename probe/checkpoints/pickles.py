"""PyTorch's pickle files, through the loader that runs nothing."""

import argparse
import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probe.errors import FileError

_EXPANSION = 16
"""Largest ratio of the tensors' bytes and the file's: some formats name one tensor several times."""
_ALLOWANCE = 1 << 20
_NAMED = 4
"""Globals that a message names."""


def load_pickle(path: Path, content: bytes | None = None, trust: bool = False) -> Any:
    """Loads what `torch.save` wrote.

    Args:
        path: The file, or the one that holds it.
        content: The bytes, where they are not the whole file.
        trust: Whether objects of any class may be built, which can run code: the user's explicit word.

    Raises:
        FileError: it is damaged, holds objects of other classes than tensors and plain data, or is a bomb.
    """
    source: Any = path if content is None else io.BytesIO(content)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")
            loaded = torch.load(source, map_location="cpu", weights_only=not trust)
    except Exception as error:  # the bytes are anyone's, and so is what goes wrong
        raise FileError(_refusal(path, content, error)) from error
    _check_size(path, len(content) if content is not None else path.stat().st_size, loaded)
    return loaded


def _refusal(path: Path, content: bytes | None, error: Exception) -> str:
    wanted = _unsafe(path if content is None else io.BytesIO(content)) or re.findall(r"GLOBAL ([\w.]+)", str(error))
    if wanted:
        more = f" and {len(wanted) - _NAMED} more" if len(wanted) > _NAMED else ""
        return (
            f"{path}: holds objects beside tensors ({', '.join(wanted[:_NAMED])}{more}), and building them can run "
            "code. Save the state_dict alone, or give --trust-pickle if you trust the file."
        )
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"{path}: holds something else than tensors and plain data, or is damaged. Loading it as it is can run "
            "code. Save the state_dict alone, or give --trust-pickle if you trust the file."
        )
    words = str(error).strip().split("\n")[0][:200] or type(error).__name__
    return f"{path}: not a whole file of `torch.save` ({words}). Copy it again."


def _unsafe(source: Any) -> list[str]:
    try:
        with torch.serialization.safe_globals(_harmless()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(source))
    except Exception:  # not even the list of names can be read: damaged
        return []


def _harmless() -> list[Any]:
    """Returns the classes beside PyTorch's own that training checkpoints hold and that only keep values."""
    scalar = np.float64(0).__reduce__()[0]  # NumPy's own function, wherever its version keeps it
    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefdSU"}
    places = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [*((scalar, place) for place in places), np.dtype, *kinds, argparse.Namespace]


def _check_size(path: Path, size: int, loaded: Any) -> None:
    """Refuses tensors that say they are larger than their bytes: they fill memory when they are copied."""
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(loaded))
    if total > max(_ALLOWANCE, _EXPANSION * size):
        raise FileError(f"{path}: {size:,} bytes whose tensors claim {total:,}: a bomb. It is refused.")


def tensors_in(value: Any) -> list[Tensor]:
    """Returns all tensors in nested dictionaries, lists and tuples; a container that is there twice counts once."""
    found: list[Tensor] = []
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, dict | list | tuple) and id(each) not in seen:
            seen.add(id(each))
            waiting += each.values() if isinstance(each, dict) else each
    return found
