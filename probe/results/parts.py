"""Parts of an analysis: one file a work item, written whole, so that an interrupted analysis goes on where it was."""

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as as_bytes

from probe.files import write_whole

VERSION = "2"
"""Raised when the statistics change their meaning; older parts are measured again."""
_SUFFIX = ".safetensors"


class PartStore:
    """A folder beside an analysis file: `<out>.parts`, or of another name for what is not `probe analyze`'s."""

    def __init__(self, out: Path, name: str = "parts") -> None:
        """Names the folder; it is made by the first `save`."""
        self.folder = out.with_name(f"{out.name}.{name}")

    def save(self, key: str, arrays: dict[str, NDArray[Any]], metadata: dict[str, Any]) -> None:
        """Writes one part.

        Raises:
            FileError: the folder cannot be written or the disk is full.
        """
        text = {"version": VERSION, "metadata": json.dumps(metadata)}
        content = as_bytes({name: np.asarray(array, order="C") for name, array in arrays.items()}, text)
        write_whole(self.folder / f"{key}{_SUFFIX}", content)

    def load(self, key: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """Returns a part's arrays and metadata; None where there is no whole part of this version."""
        try:
            with safe_open(self.folder / f"{key}{_SUFFIX}", framework="np") as file:
                text = file.metadata() or {}
                if text.get("version") != VERSION:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}
            return arrays, json.loads(text["metadata"])
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError):
            return None

    def remove(self, keys: Iterable[str]) -> None:
        """Removes parts, and the folder with the last one."""
        for key in keys:
            (self.folder / f"{key}{_SUFFIX}").unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def clear(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
