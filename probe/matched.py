"""Matched observation sets: a folder with one for each checkpoint of a series, collected with its own policy."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from torch import Tensor

from probe.errors import ConfigurationError, FileError
from probe.observations import ObservationSet, open_observations
from probe.probes.base import Probe


class MatchedObservations(ObservationSet):
    """One set a checkpoint, under one digest so that the rows of a series belong together; `of` gives one."""

    def __init__(self, folder: Path, sets: Sequence[ObservationSet]) -> None:
        """Joins sets of `open_matched`, which has checked that they fit each other."""
        digest = sha256("".join(each.digest for each in sets).encode()).hexdigest()
        super().__init__(folder, sets[0].samples, sets[0].observation_shape, {**sets[0].attributes, "sha256": digest})
        self._sets = {str(each.attributes["policy"]): each for each in sets}

    @property
    def kind(self) -> str:
        """`matched`."""
        return "matched"

    def of(self, checkpoint: str) -> ObservationSet:
        """Returns the set that a checkpoint collected itself.

        Raises:
            FileError: there is none.
        """
        if checkpoint not in self._sets:
            raise FileError(
                f"{self.path}: no set of the checkpoint {checkpoint[:8]}... in it. `probe collect ENVIRONMENT "
                f"--per-checkpoint SERIES --out {self.path}` adds the sets that are missing."
            )
        return self._sets[checkpoint]

    def batches(self, batch_size: int, samples: int | None = None) -> Iterator[Tensor]:
        """Yields the observations of every set."""
        for each in self._sets.values():
            yield from each.batches(batch_size, samples)

    def verify(self) -> bool:
        """Reads everything and compares it with the digests that were written with it."""
        return all(each.verify() for each in self._sets.values())


def open_matched(folder: Path | str) -> MatchedObservations:
    """Opens a folder that `probe collect --per-checkpoint` wrote.

    Raises:
        FileError: there is no set in it, or one is not matched, or they differ in their size or shape.
    """
    folder = Path(folder)
    sets = [open_observations(path) for path in sorted(folder.glob("*.h5"))]
    if not sets:
        raise FileError(f"{folder}: no observation set (*.h5) in it. `probe collect --per-checkpoint` makes them.")
    for each in sets:
        if each.kind != "matched":
            raise FileError(f"{each.path}: {each.kind}, not collected by a checkpoint. Give it as --data of its own.")
        if (each.samples, each.observation_shape) != (sets[0].samples, sets[0].observation_shape):
            raise FileError(
                f"{folder}: {sets[0].path.name} has {sets[0].samples} observations of shape "
                f"{sets[0].observation_shape}, {each.path.name} {each.samples} of {each.observation_shape}. "
                "Checkpoints are compared at equal numbers; collect the sets again."
            )
    return MatchedObservations(folder, sets)


def open_data(path: Path | str) -> ObservationSet:
    """Opens what `--data` takes: an observation set, or a folder of matched ones.

    Raises:
        FileError: it is neither.
    """
    return open_matched(path) if Path(path).is_dir() else open_observations(path)


def refuse_comparisons(probes: Sequence[Probe], data: Sequence[ObservationSet]) -> None:
    """Refuses probes that compare networks on the same observations where there are matched sets only.

    Raises:
        ConfigurationError: there is such a probe.
    """
    compares = [probe.name for probe in probes if probe.needs in ("pair", "sets")]
    if compares and data and all(isinstance(each, MatchedObservations) for each in data):
        raise ConfigurationError(
            f"{', '.join(compares)}: compared on the same observations, and in {data[0].path} each checkpoint has its "
            "own. Give a pooled set too (--data), or leave these probes out."
        )
