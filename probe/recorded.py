"""Observations that other tools recorded: .npy, .npz, HDF5 of Minari and D4RL, folders of images.

They become what observation sets hold: uint8 (height, width, channel) images or float32 vectors. What is done to them
for that is a note; what cannot be told is refused.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from probe.arrays import NDArray
from probe.errors import FileError, UnknownNameError
from probe.observations import ObservationSet
from probe.recordings import Recording, looks_recorded, open_recording

_BLOCK = 64
_CHANNELS = 16
"""Most channels that an image has; an axis that is longer is a height or width."""
_ROUNDING = 1e-3
"""How far a pixel value may lie beside a whole number; float16 images in [0, 1] lie further and are no pixels."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Form:
    """What is done to recorded rows."""

    axes: tuple[int, ...] = ()
    """Order of an image's axes; empty: as they are."""
    added_axis: bool = False
    factor: float = 1.0
    is_image: bool = False
    notes: tuple[str, ...] = ()

    def apply(self, rows: Array, path: Path) -> Array:
        """Returns rows as observation sets hold them.

        Raises:
            FileError: values are no pixels, or not finite.
        """
        if not np.isfinite(rows).all():
            raise FileError(f"{path}: holds values that are not finite. Leave those observations out.")
        if not self.is_image:
            return np.ascontiguousarray(rows, np.float32)
        ordered = rows[..., None] if self.added_axis else rows.transpose(0, *(axis + 1 for axis in self.axes))
        if ordered.dtype != np.uint8:
            ordered = _pixels(ordered.astype(np.float64) * self.factor, path)
        return np.ascontiguousarray(ordered)


class RecordedObservations(ObservationSet):
    """A recording as an observation set; without actions its digest is that of the same observations in one of ours."""

    def __init__(self, path: Path, recording: Recording, form: Form, shape: tuple[int, ...]) -> None:
        """Describes a recording that `open_recorded` has looked at."""
        attributes = {"environment": "unknown", "kind": "pooled", "task": 0, "format": recording.format}
        super().__init__(path, recording.samples, shape, attributes)
        self._recording, self._form = recording, form
        self.notes = (*recording.notes, *form.notes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the observations' bytes in row order, and of the actions that were recorded beside them."""
        sha = hashlib.sha256()
        for _, rows in self._blocks():
            sha.update(rows.data)
        for column in self._recording.columns().values():
            sha.update(np.ascontiguousarray(column).data)
        return sha.hexdigest()

    def column(self, name: str) -> Array:
        """Returns `actions` where they were recorded; no return is known.

        Raises:
            UnknownNameError: there is no such column.
        """
        columns = self._recording.columns()
        if name == "returns":
            return np.full(self.samples, np.nan, np.float32)
        if name not in columns:
            raise UnknownNameError(f"column of {self.path}", name, [*columns, "returns"])
        return columns[name]

    def verify(self) -> bool:
        """True: a recording has no digest of its own to compare with."""
        return True

    def _blocks(self) -> Iterator[tuple[int, Array]]:
        for first, rows in self._recording.blocks(_BLOCK):
            yield first, self._form.apply(rows, self.path)


def open_recorded(path: Path) -> RecordedObservations:
    """Opens a recording and decides what is done to it.

    Raises:
        FileError: it is damaged, hostile, holds no observations, or how it holds them cannot be told.
    """
    recording = open_recording(path)
    _, first = next(recording.blocks(_BLOCK))
    form = _form(path, first)
    return RecordedObservations(path, recording, form, form.apply(first, path).shape[1:])


def _form(path: Path, rows: Array) -> Form:
    shape = rows.shape[1:]
    if rows.dtype.kind not in "biuf" or len(shape) not in (1, 2, 3) or 0 in shape:
        raise FileError(
            f"{path}: observations are {rows.dtype} of shape {shape}; vectors, grey images (height, width) or images "
            "with channels are expected. Stacked frames go into the channels."
        )
    if len(shape) == 1:
        return Form()
    axes, notes = _axes(path, shape)
    factor, scale = (1.0, "") if rows.dtype == np.uint8 else _scale(path, rows)
    return Form(axes, len(shape) == 2, factor, True, tuple(note for note in (notes, scale) if note))


def _axes(path: Path, shape: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """Returns the order in which an image's axes are height, width, channel, and what is said of it."""
    if len(shape) == 2:
        return (), f"its images have no channels {tuple(shape)}: they are taken to be grey"
    first, last = shape[0] <= _CHANNELS, shape[-1] <= _CHANNELS
    if first == last:
        raise FileError(
            f"{path}: which axis of {tuple(shape)} is the channels cannot be told. Save images as (sample, height, "
            f"width, channel) with at most {_CHANNELS} channels."
        )
    if not first:
        return (0, 1, 2), ""
    return (1, 2, 0), f"its images are channels first {tuple(shape)}: they are transposed"


def _scale(path: Path, rows: Array) -> tuple[float, str]:
    """Returns the factor that makes pixels of floats, and what is said of it."""
    low, high = float(rows.min()), float(rows.max())
    if 0 <= low and high <= 1:
        return 255.0, "its values lie in [0, 1]: they are multiplied by 255"
    if 0 <= low and high <= 255:
        return 1.0, f"its values are {rows.dtype} in [0, 255]: they are taken to be pixels"
    raise FileError(
        f"{path}: images with values from {low:.4g} to {high:.4g}; pixels in [0, 255] or [0, 1] are expected. "
        "Save them before any normalisation."
    )


def _pixels(values: Array, path: Path) -> Array:
    whole = values.round()
    if whole.min() < 0 or whole.max() > 255 or np.abs(values - whole).max() > _ROUNDING:
        raise FileError(f"{path}: its images hold values that are no pixels of 0 to 255. Save them before any scaling.")
    pixels: Array = whole.astype(np.uint8)
    return pixels


def is_recorded(path: Path) -> bool:
    """Whether a path is a recording and no observation set of ours, as far as its name and attributes tell."""
    if path.is_dir() or path.suffix in (".npy", ".npz"):
        return True
    try:
        with h5py.File(path, "r") as file:
            ours = "format" in file.attrs or "sha256" in file.attrs
            return not ours and looks_recorded(file)
    except OSError:
        return False
