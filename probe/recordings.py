"""The files in which other tools record observations, read block by block; nothing in them is executed."""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np

from probe.arrays import NDArray
from probe.checkpoints.archives import members
from probe.errors import FileError
from probe.files import reason

Array = NDArray[Any]
_NAMES = ("observations", "obs", "states")
_IMAGES = (".png", ".jpg", ".jpeg")
_EPISODE = "episode_"
_EXPANSION = 1100
"""Largest ratio of a dataset's size and its bytes in the file; deflate cannot do more."""
_ALLOWANCE = 1 << 26
_CHUNK = 1 << 28
"""Largest chunk, in bytes, that is read at once."""
_DEPTH = 8


class Recording(ABC):
    """Rows on disk."""

    format: ClassVar[str]
    samples: int
    notes: tuple[str, ...] = ()
    """What was left out, as sentences."""

    @abstractmethod
    def blocks(self, size: int) -> Iterator[tuple[int, Array]]:
        """Yields (first row, rows) in order, `size` or fewer at once."""

    def columns(self) -> dict[str, Array]:
        """Returns what was recorded beside the observations, one value a row."""
        return {}


def open_recording(path: Path) -> Recording:
    """Opens a recording.

    Raises:
        FileError: it is damaged, hostile, or holds no observations.
    """
    if path.is_dir():
        return ImageFolder(path)
    if path.suffix in (".npy", ".npz"):
        return ArrayFile(path)
    return Hdf5Recording(path)


class ArrayFile(Recording):
    """An .npy, read from its place, or an .npz with an array `observations`."""

    format = "array"

    def __init__(self, path: Path) -> None:
        """Opens it; objects in arrays, which are pickles, are refused."""
        try:
            if path.suffix == ".npy":
                self._columns: dict[str, Array] = {}
                self._rows: Array = np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                members(path)
                with np.load(path, allow_pickle=False) as held:
                    name = _chosen(path, list(held.files))
                    self._rows = held[name]
                    found = {each: held[each] for each in ("actions",) if each in held.files}
                    self._columns = {n: rows for n, rows in found.items() if len(rows) == len(self._rows)}
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({reason(error)}).") from error
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise FileError(f"{path}: no plain array of numbers ({error}). Write one with numpy.save.") from error
        if self._rows.ndim < 2 or not len(self._rows):
            raise FileError(f"{path}: an array of shape {self._rows.shape}; (sample, ...) is expected.")
        self.samples = len(self._rows)

    def blocks(self, size: int) -> Iterator[tuple[int, Array]]:
        """Yields (first row, rows) in order."""
        for first in range(0, self.samples, size):
            yield first, np.asarray(self._rows[first : first + size])

    def columns(self) -> dict[str, Array]:
        """Returns the actions of an .npz that has as many."""
        return self._columns


class Hdf5Recording(Recording):
    """`/observations`, as D4RL writes it, or `/episode_0/observations`, ..., as Minari does."""

    format = "hdf5"

    def __init__(self, path: Path) -> None:
        """Looks for the datasets; links that lead elsewhere and groups that hold themselves are refused."""
        self._path = path
        try:
            with h5py.File(path, "r") as file:
                refuse_detours(path, file)
                self._parts = self._found(file)
                self._lengths = [_checked(path, file[name]) for name in self._parts]
                self._leave_out_last(file)
        except (OSError, KeyError, RuntimeError) as error:
            words = reason(error) if isinstance(error, OSError) else str(error)
            raise FileError(f"{path}: not a whole HDF5 file of observations ({words}). Copy it again.") from error
        self.samples = sum(self._lengths)
        if not self.samples:
            raise FileError(f"{path}: holds no observations.")

    def _leave_out_last(self, file: Any) -> None:
        """Leaves out each episode's last observation where, as in Minari's files, all but it have an action."""
        actions = self._actions(file)
        lengths = [_checked(self._path, each, axes=1) for each in actions]
        if len(actions) == len(self._parts) and [each + 1 for each in lengths] == self._lengths:
            self._lengths = lengths
            self.notes = ("each episode's last observation is left out: nothing was done there",)

    def _actions(self, file: Any) -> list[Any]:
        names = [name.replace("observations", "actions") for name in self._parts]
        return [file[name] for name in names if name not in self._parts and name in file]

    def _found(self, file: Any) -> list[str]:
        episodes = [name for name in file if name.startswith(_EPISODE) and "observations" in file[name]]
        ordered = sorted(episodes, key=lambda name: (len(name), name))
        names = [name for name in _NAMES if name in file][:1] or [f"{name}/observations" for name in ordered]
        if not names:
            held = ", ".join(list(file)[:4]) or "nothing"
            raise FileError(
                f"{self._path}: holds {held}; /observations (D4RL) or /episode_0/observations (Minari) is expected."
            )
        return names

    def columns(self) -> dict[str, Array]:
        """Returns the actions, where there is one for each observation."""
        with h5py.File(self._path, "r") as file:
            found = self._actions(file)
            if sum(_checked(self._path, each, axes=1) for each in found) != self.samples:
                return {}
            return {"actions": np.concatenate([np.asarray(each) for each in found])}

    def blocks(self, size: int) -> Iterator[tuple[int, Array]]:
        """Yields (first row, rows) in order, episode after episode."""
        start = 0
        with h5py.File(self._path, "r") as file:
            for name, length in zip(self._parts, self._lengths, strict=True):
                for first in range(0, length, size):
                    yield start + first, np.asarray(file[name][first : min(first + size, length)])
                start += length


class ImageFolder(Recording):
    """PNG and JPEG files of one size, in the order of their names."""

    format = "images"

    def __init__(self, path: Path) -> None:
        """Lists the files."""
        self._files = sorted(each for each in path.iterdir() if is_image(each))
        if not self._files:
            raise FileError(
                f"{path}: a folder without images ({', '.join(_IMAGES)}). `probe collect` makes observation sets."
            )
        self.samples = len(self._files)

    def blocks(self, size: int) -> Iterator[tuple[int, Array]]:
        """Yields (first row, rows) in order."""
        shape = _image(self._files[0]).shape
        for first in range(0, self.samples, size):
            images = {file: _image(file) for file in self._files[first : first + size]}
            for file, each in images.items():
                if each.shape != shape:
                    raise FileError(f"{file}: an image of {each.shape} beside one of {shape}; one size is expected.")
            yield first, np.stack(list(images.values()))


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image."""
    return path.suffix.lower() in _IMAGES


def looks_recorded(file: Any) -> bool:
    """Whether an HDF5 file has the names that D4RL or Minari give."""
    return any(name in file for name in _NAMES) or any(name.startswith(_EPISODE) for name in file)


def refuse_detours(path: Path, group: Any, above: tuple[Any, ...] = ()) -> None:
    """Refuses an HDF5 file whose links lead to other files or back to a group that they stand in.

    Raises:
        FileError: it has such a link.
    """
    here = h5py.h5o.get_info(group.id)
    if (here.fileno, here.addr) in above or len(above) > _DEPTH:
        raise FileError(f"{path}: its group '{group.name}' holds itself. It is refused.")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise FileError(f"{path}: '{name}' is a link that leads elsewhere. It is refused.")
        if group.get(name, getclass=True) is h5py.Group:
            refuse_detours(path, group[name], (*above, (here.fileno, here.addr)))


def _checked(path: Path, dataset: Any, axes: int = 2) -> int:
    """Returns the rows of a dataset that lies in this file and is as large as it says."""
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise FileError(f"{path}: '{dataset.name}' is no array in this file; several inputs cannot be probed.")
    stored = dataset.id.get_storage_size()
    chunk = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize if dataset.chunks else 0
    if dataset.nbytes > max(_ALLOWANCE, _EXPANSION * stored) or chunk > _CHUNK:
        raise FileError(
            f"{path}: '{dataset.name}' has {stored:,} bytes that unpack to {dataset.nbytes:,}. It is refused."
        )
    if dataset.ndim < axes:
        raise FileError(f"{path}: '{dataset.name}' has shape {dataset.shape}; (sample, ...) is expected.")
    return len(dataset)


def _chosen(path: Path, names: list[str]) -> str:
    known = [name for name in _NAMES if name in names] or (names if len(names) == 1 else [])
    if not known:
        raise FileError(f"{path}: holds {', '.join(names[:4]) or 'nothing'}; an array 'observations' is expected.")
    return known[0]


def _image(file: Path) -> Array:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            mode = "L" if image.mode in ("L", "1") else "RGB"
            pixels = np.asarray(image.convert(mode))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise FileError(f"{file}: not a whole image ({error}). Leave it out.") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels
