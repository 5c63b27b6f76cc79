"""Safetensors files of any library."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from probe.checkpoints.content import Content
from probe.checkpoints.state_dicts import unwrapped
from probe.checkpoints.steps import count_of_content, step_of_content
from probe.errors import FileError
from probe.files import reason


def read_safetensors(path: Path) -> Content:
    """Reads the tensors, and the step where the metadata say it.

    Raises:
        FileError: the file is missing or damaged.
    """
    tensors, metadata = read_tensors(path)
    numbers = {name: int(text) for name, text in metadata.items() if text.isascii() and text.isdigit()}
    step, count = step_of_content(numbers), count_of_content(numbers)
    return Content(format="safetensors", tensors=unwrapped(tensors), step=step, count=count)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a file's tensors and metadata.

    Raises:
        FileError: it is missing or damaged.
    """
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opens a file and turns what goes wrong with it into a message.

    Raises:
        FileError: it is missing, truncated, or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise FileError(f"{path}: there is no such file.") from error
    except (SafetensorError, OSError) as error:
        words = reason(error) if isinstance(error, OSError) else str(error)
        raise FileError(f"{path}: not a whole safetensors file ({words}). Copy or write it again.") from error
