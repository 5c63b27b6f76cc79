"""Observation sets: HDF5 files of real observations, read chunk by chunk in constant memory."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.blocks import read_ahead
from probe.errors import ConfigurationError, FileError, UnknownNameError
from probe.files import reason, tensor_digest

FORMAT = "plasticity-probe observations"
FORMAT_VERSION = 1
COLUMNS = ("actions", "rewards", "returns", "episodes", "environments", "episode_starts", "levels")
"""Beside `observations`; `levels` only where the environment has them."""

_JSON = ("specification", "versions")
_REQUIRED = (
    "environment",
    *_JSON,
    "frame_stack",
    "policy",
    "kind",
    "seed",
    "task",
    "stride",
    "gamma",
    "sha256",
    "digest",
)
_PASS, _PASS_VALUES = 256, 2**22
"""Most observations of a forward pass, and most numbers in them: fewer cost more, more take memory for nothing."""
Array = NDArray[Any]


class ObservationSet:
    """An observation set on disk. Nothing stays open between calls, so it can be handed to other processes."""

    def __init__(
        self, path: Path, samples: int, observation_shape: tuple[int, ...], attributes: dict[str, Any]
    ) -> None:
        """Describes a set that `open_observations` has checked."""
        self.path = path
        self.samples = samples
        self.observation_shape = observation_shape
        """(height, width, channel) of uint8 images, or (feature,) of float32 vectors."""
        self.notes: tuple[str, ...] = ()
        """What was done to the observations of another tool, as sentences."""
        self.attributes = attributes
        """Provenance: environment, specification, policy, kind, seed, task, stride, gamma, versions and more."""

    @property
    def digest(self) -> str:
        """SHA-256 of the observations' bytes in row order: what results name this set by."""
        return str(self.attributes["sha256"])

    @property
    def kind(self) -> str:
        """`pooled`: one set for all checkpoints; `matched`: collected with a checkpoint's own policy."""
        return str(self.attributes["kind"])

    @property
    def task(self) -> int:
        """Index of the task that the observations were made in."""
        return int(self.attributes["task"])

    def of(self, checkpoint: str) -> "ObservationSet":
        """Returns what a checkpoint, given by its digest, is measured on: this set, whichever it is."""
        return self

    @property
    def pass_size(self) -> int:
        """Observations that go through a network at a time: 256, or fewer large ones."""
        return max(1, min(_PASS, _PASS_VALUES // max(1, self._values)))

    @property
    def _values(self) -> int:
        """Numbers in one observation."""
        return prod(self.observation_shape)

    def batches(self, batch_size: int, samples: int | None = None) -> Iterator[Tensor]:
        """Yields observations in file order, in memory that does not grow with the set.

        Args:
            batch_size: rows in a batch; the last one may have fewer.
            samples: rows in all; fewer than there are come evenly spread over the set, at rows i * N // samples.

        Yields:
            uint8 (batch, height, width, channel), or float32 (batch, feature).

        Raises:
            FileError: the file changed or is damaged.
            ConfigurationError: `batch_size` or `samples` is below 1.
        """
        if batch_size < 1 or (samples is not None and samples < 1):
            raise ConfigurationError(f"Batch size and samples must be 1 or more, got {batch_size} and {samples}.")
        total = self.samples if samples is None else min(samples, self.samples)
        filled, batch = 0, self._empty(min(batch_size, total))
        left = total
        for first, rows in self._blocks():
            # Row r is chosen where r = i * N // total for some i.
            last = first + len(rows)
            chosen = np.arange(-(-first * total // self.samples), -(-last * total // self.samples))
            picked = rows if total == self.samples else rows[chosen * self.samples // total - first]
            while len(picked):
                taken = min(len(picked), len(batch) - filled)
                batch[filled : filled + taken] = picked[:taken]
                picked, filled = picked[taken:], filled + taken
                if filled == len(batch):
                    yield torch.from_numpy(batch)
                    left -= filled
                    filled, batch = 0, self._empty(min(batch_size, left))

    def column(self, name: str) -> Array:
        """Returns one value per observation: actions, rewards, returns, episodes, environments, episode_starts, levels.

        Raises:
            UnknownNameError: the set has no such column.
        """
        with _opened(self.path) as file:
            known = [column for column in COLUMNS if column in file]
            if name not in known:
                raise UnknownNameError(f"column of {self.path}", name, known)
            return np.asarray(file[name][()])

    def verify(self) -> bool:
        """Reads everything and compares it with the digests that were written with it."""
        sha = hashlib.sha256()
        try:
            for _, rows in self._blocks():
                sha.update(np.ascontiguousarray(rows).data)
            with _opened(self.path) as file:
                columns = {name: np.asarray(file[name][()]) for name in COLUMNS if name in file}
                attributes = dict(file.attrs)
        except FileError:
            return False
        found = (sha.hexdigest(), content_digest(columns, attributes))
        return found == (self.attributes["sha256"], self.attributes["digest"])

    def _empty(self, rows: int) -> Array:
        return np.empty((rows, *self.observation_shape), np.uint8 if len(self.observation_shape) == 3 else np.float32)

    def _blocks(self) -> Iterator[tuple[int, Array]]:
        """Yields (first row, rows) in order."""
        with _opened(self.path) as file:
            yield from read_ahead(file["observations"], self.path)


def open_observations(path: Path | str) -> ObservationSet:
    """Opens an observation set and checks that it is whole, ours, and of this version; or another tool's recording.

    Raises:
        FileError: it is missing, truncated, foreign, incomplete, of another version, or refers to other files.
    """
    path = Path(path)
    from probe.recorded import is_recorded, open_recorded  # which make observation sets of this module's kind
    from probe.recordings import refuse_detours

    if (path.is_file() or path.is_dir()) and is_recorded(path):
        return open_recorded(path)
    if not path.is_file():
        what = "there is no such file" if not path.exists() else "an observation set is a file, this is none"
        raise FileError(f"{path}: {what}. `probe collect ENVIRONMENT --out {path}` makes one.")
    with _opened(path) as file:
        try:
            attributes = _attributes(path, file.attrs)
            shape = _checked_shape(path, file)
            refuse_detours(path, file)
        except (KeyError, TypeError, ValueError, RuntimeError, OSError, AttributeError) as error:
            raise FileError(f"{path}: damaged ({error}). Collect it again with `probe collect`.") from error
    return ObservationSet(path, shape[0], shape[1:], attributes)


def content_digest(columns: Mapping[str, Array], attributes: Mapping[str, Any]) -> str:
    """Returns the SHA-256 over the columns and the attributes, the observations' own SHA-256 among them."""
    named = {name: str(_plain(value)) for name, value in attributes.items() if name != "digest"}
    return tensor_digest(columns, named)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _opened(path: Path) -> Any:
    try:
        return h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise FileError(
            f"{path}: not a whole HDF5 file ({reason(error)}). It is cut short or of another format; "
            "collect it again with `probe collect`."
        ) from error


def _attributes(path: Path, stored: Any) -> dict[str, Any]:
    if stored.get("format") != FORMAT:
        raise FileError(f"{path}: an HDF5 file, but no observation set. `probe collect` makes observation sets.")
    if stored.get("format_version") != FORMAT_VERSION:
        raise FileError(
            f"{path}: format version {FORMAT_VERSION} is expected, the file has {stored.get('format_version')}. "
            "Collect it again with `probe collect`, or install the plasticity-probe that wrote it."
        )
    missing = [name for name in _REQUIRED if name not in stored]
    if missing or not stored.get("complete", False):
        lacking = f"attributes {missing} are missing" if missing else "it was not written to its end"
        raise FileError(f"{path}: incomplete ({lacking}). Collect it again with `probe collect`.")
    plain = {name: _plain(value) for name, value in stored.items()}
    return {**plain, **{name: json.loads(plain[name]) for name in _JSON}}


def _checked_shape(path: Path, file: Any) -> tuple[int, ...]:
    """Returns the shape of the observations, having checked every dataset's place, type and length."""
    for name in ("observations", *COLUMNS):
        link = file.get(name, getlink=True)
        if name == "levels" and link is None:
            continue
        dataset = file[name] if isinstance(link, h5py.HardLink) else None
        # Links and virtual or external storage would read other files than the one that was given.
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise FileError(f"{path}: '{name}' is missing or lies in another file. Collect it with `probe collect`.")
        if dataset.dtype.kind not in "biuf" or len(dataset) != len(file["observations"]):
            raise FileError(f"{path}: '{name}' has {dataset.dtype} of shape {dataset.shape}. Collect it again.")
    observations = file["observations"]
    shape: tuple[int, ...] = observations.shape
    if (observations.dtype, len(shape)) not in ((np.uint8, 4), (np.float32, 2)) or 0 in shape:
        raise FileError(
            f"{path}: observations are {observations.dtype} of shape {shape}; expected uint8 (sample, height, width, "
            "channel) or float32 (sample, feature), and at least one. Collect it again with `probe collect`."
        )
    return shape
