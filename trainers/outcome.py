"""What a run came to, read from its metrics.csv."""

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean

import numpy as np

from probe.errors import FileError
from probe.files import reason
from probe.recovery import Recovery, last_steps, logged_scores, recoveries
from probe.trainers.logs import METRICS

UPDATES = 10
"""Return and accuracy in training are means over the last so many updates in which there was one."""


@dataclass(frozen=True)
class Outcome:
    """The last numbers of a run; None where there is none."""

    step: int
    return_train: float | None = None
    return_test: float | None = None
    accuracy_train: float | None = None
    """Accuracies are of supervised streams, which have no returns."""
    accuracy_test: float | None = None
    value_bias: float | None = None
    """Of the last evaluation, in the rewards' own unit."""
    steps_per_second: float | None = None
    """Steps over seconds of all updates together, evaluation and saving left out."""
    recoveries: tuple[Recovery, ...] = ()
    """A task shift each."""

    @property
    def scores(self) -> dict[str, float | None]:
        """What says how well it did, by the names of metrics.csv."""
        if self.accuracy_train is None:
            return {"return/train": self.return_train, "return/test": self.return_test}
        return {"accuracy/train": self.accuracy_train, "accuracy/test": self.accuracy_test}


def read_outcome(folder: Path) -> Outcome:
    """Reads the outcome of a run folder.

    Raises:
        FileError: there are no metrics, or no row of them.
    """
    path = folder / METRICS
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)}).") from error
    if not rows:
        raise FileError(f"{path}: no update has been logged yet. Train on with --resume.")
    columns = {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}
    speeds = columns["speed/steps_per_second"]
    table = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
    return Outcome(
        step=int(rows[-1]["step"]),
        return_train=_mean(columns.get("return/train", [])[-UPDATES:]),
        return_test=_last(columns.get("return/test", [])),
        accuracy_train=_mean(columns.get("accuracy/train", [])[-UPDATES:]),
        accuracy_test=_last(columns.get("accuracy/test", [])),
        value_bias=_last(columns.get("value/test_bias", [])),
        # Updates have equal steps, so the rate of all of them is the harmonic mean of theirs.
        steps_per_second=harmonic_mean(speeds) if speeds else None,
        recoveries=tuple(recoveries(*logged_scores(table), last_steps(table))),
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _last(values: list[float]) -> float | None:
    return values[-1] if values else None
