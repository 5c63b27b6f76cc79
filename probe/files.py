"""Writing that leaves a whole file or none, and the digests that say whether a file is whole."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.errors import FileError


@contextmanager
def replace_on_success(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`; it takes `path`'s name if the block succeeds and disappears if it does not.

    Raises:
        FileError: the folder cannot be written or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({reason(error)}). Free space or choose another place.") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Writes bytes to a file, whole or not at all.

    Libraries' own writers are not used: killed half-way, they leave files under names that nobody knows to remove.

    Raises:
        FileError: the folder cannot be written or the disk is full.
    """
    with replace_on_success(path) as partial:
        partial.write_bytes(content)


def reason(error: OSError) -> str:
    """Returns the operating system's words for an error, without the errno and the path."""
    return error.strerror or str(error) or type(error).__name__


def digest_of_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def tensor_digest(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Returns the SHA-256 over sorted names, dtypes, shapes and bytes of the arrays, and over the metadata."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        sha.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    sha.update(json.dumps(dict(metadata), sort_keys=True).encode())
    return sha.hexdigest()
