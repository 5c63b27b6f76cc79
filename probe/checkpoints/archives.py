"""Zip files that are not trusted: read in memory, never unpacked, and refused where they mean harm."""

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from probe.errors import FileError
from probe.files import reason

_EXPANSION = 50
"""Largest ratio of what a file unpacks to and its own size; weights hardly shrink at all."""
_ALLOWANCE = 1 << 24
"""Bytes that any file may unpack to."""


def members(path: Path) -> dict[str, int]:
    """Returns the size of each member of a zip file, having checked that none of them can do harm.

    Raises:
        FileError: it is no whole zip file, or a member lies outside of it, is there twice, or unpacks to far too much.
    """
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
    except FileNotFoundError as error:
        raise FileError(f"{path}: there is no such file.") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise FileError(f"{path}: not a whole zip file ({error}). Copy it again.") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)}).") from error
    for entry in entries:
        if _leads_outside(entry):
            raise FileError(f"{path}: its member '{entry.filename}' leads out of the file. It is refused.")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise FileError(f"{path}: holds two members of one name, so that readers disagree on it. It is refused.")
    unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if unpacked > max(_ALLOWANCE, _EXPANSION * size):
        raise FileError(f"{path}: {size:,} bytes that unpack to {unpacked:,}: a decompression bomb. It is refused.")
    return {entry.filename: entry.file_size for entry in entries}


def read_member(path: Path, name: str) -> bytes:
    """Returns the content of one member of a file that `members` has checked.

    Raises:
        FileError: it is damaged.
    """
    try:
        with ZipFile(path) as archive:
            return archive.read(name)
    except (OSError, KeyError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise FileError(f"{path}: its member '{name}' cannot be read ({error}). Copy the file again.") from error


def _leads_outside(entry: ZipInfo) -> bool:
    # What is stored, not what zipfile makes of it: it turns backslashes on Windows only.
    name = entry.orig_filename.replace("\\", "/")
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or name[1:2] == ":"
