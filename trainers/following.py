"""A run as its folder tells it while it is alive; nothing in the folder is touched."""

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean

from probe.errors import FileError
from probe.files import reason
from probe.headline import DORMANCY_THRESHOLD
from probe.trainers import monitoring, spikes
from probe.trainers import record as records
from probe.trainers.folder import RunFolder
from probe.trainers.lock import trains
from probe.trainers.logs import METRICS
from probe.trainers.record import RunRecord

_SPEED = "speed/steps_per_second"
_DORMANT = f"network/dormant_{DORMANCY_THRESHOLD}/"
_RECENT = 10
"""Updates behind the speed, and within which a spike is recent."""
_SCORES = 200
"""Most scores that are kept."""


@dataclass(frozen=True)
class LayerReading:
    """A layer at its last reading."""

    name: str
    mean_abs: float | None
    fau: float | None
    """Fraction of active units: outputs above zero."""
    dormant: float | None
    collapsed_since: int | None
    """Step of the reading that first showed the collapse that lasts; None while the layer works."""


@dataclass(frozen=True)
class Spike:
    """A metric that was far from what it had been."""

    metric: str
    step: int
    deviations: float


@dataclass(frozen=True)
class RunView:
    """What is known of a run; None and empty where there is nothing yet."""

    path: str
    name: str
    method: str
    seed: int
    state: str
    """`training`, `finished`, or `stopped` before its end."""
    step: int
    total: int
    score: str
    """What it is judged by: `return`, or of a supervised stream `accuracy`."""
    scores: tuple[tuple[int, float], ...]
    """Those in training with their steps, the latest last."""
    test: float | None
    layers: tuple[LayerReading, ...]
    modules: dict[str, float]
    """Dormant fraction of each module."""
    actions: tuple[float, ...]
    """How often each was chosen in the last update."""
    balance: float | None
    spikes: tuple[Spike, ...]
    """Of the last updates."""
    steps_per_second: float | None

    @property
    def seconds_left(self) -> float | None:
        """Time until the end at this speed, evaluation and saving left out."""
        if self.state != "training" or self.steps_per_second is None:
            return None
        return (self.total - self.step) / self.steps_per_second


class RunFollower:
    """Reads what a run has logged since it was last looked at."""

    def __init__(self, path: Path) -> None:
        """Takes a run folder, or one that has a single run in it.

        Raises:
            FileError: there is no run, or there are several.
            ConfigurationError: its run.toml holds something unknown.
        """
        self._folder = RunFolder(_run_in(path))
        self._record = RunRecord.read(self._folder.path)
        self._forget()

    def _forget(self) -> None:
        self._read, self._last = 0, b""
        self._columns: list[str] = []
        self._latest: dict[str, float] = {}
        self._speeds: list[float] = []
        self._scores: list[tuple[int, float]] = []
        self._collapsed: dict[str, int] = {}
        self._spikes: list[Spike] = []
        self._step = 0

    def look(self) -> RunView:
        """Returns the run as it is now.

        Raises:
            FileError: metrics.csv cannot be read.
        """
        alive = trains(self._folder.path)  # before the rows: a run that ends in between has written all of them
        for row in self._new_rows():
            self._take(row)
        return self._view(alive)

    def _new_rows(self) -> list[dict[str, float]]:
        """Returns the whole rows since the last time; all of them where a resumed run has cut the file back."""
        path = self._folder.path / METRICS
        try:
            with path.open("rb") as file:
                file.seek(self._read - len(self._last))
                if file.read(len(self._last)) != self._last:
                    self._forget()
                    file.seek(0)
                content = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({reason(error)}).") from error
        whole = content[: content.rfind(b"\n") + 1]  # what is being written comes the next time
        lines = whole.splitlines(keepends=True)
        self._read += len(whole)
        self._last = lines[-1] if lines else self._last
        cells = list(csv.reader(line.decode() for line in lines))
        if cells and not self._columns:
            self._columns = cells.pop(0)
        return [{name: float(cell) for name, cell in zip(self._columns, row, strict=True) if cell} for row in cells]

    def _take(self, row: dict[str, float]) -> None:
        self._step = int(row["step"])
        self._latest |= row
        self._speeds = [*self._speeds, row[_SPEED]][-_RECENT:]
        if f"{self._score}/train" in row:
            self._scores = [*self._scores, (self._step, row[f"{self._score}/train"])][-_SCORES:]
        for name, collapsed in _below(row, monitoring.COLLAPSED).items():
            if not collapsed:
                self._collapsed.pop(name, None)
            else:
                self._collapsed.setdefault(name, self._step)
        steps = _RECENT * self._record.configuration.update_steps
        self._spikes = [each for each in self._spikes if each.step > self._step - steps] + [
            Spike(metric, self._step, far)
            for metric, far in _below(row, spikes.PREFIX).items()
            if abs(far) >= spikes.SPIKE
        ]

    @property
    def _score(self) -> str:
        return "accuracy" if "accuracy/train" in self._columns else "return"

    def _view(self, alive: bool) -> RunView:
        record, latest = self._record, self._latest
        total = record.configuration.total_steps
        ended = "finished" if self._folder.checkpoint(total).exists() else "stopped"
        return RunView(
            path=str(self._folder.path),
            name=record.name,
            method=record.method,
            seed=record.seed,
            state="training" if alive else ended,
            step=self._step,
            total=total,
            score=self._score,
            scores=tuple(self._scores),
            test=latest.get(f"{self._score}/test"),
            layers=tuple(
                LayerReading(
                    name,
                    mean_abs,
                    latest.get(f"{monitoring.FAU}{name}"),
                    latest.get(f"{monitoring.DORMANT}{name}"),
                    self._collapsed.get(name),
                )
                for name, mean_abs in _below(latest, monitoring.MEAN).items()
            ),
            modules=_below(latest, _DORMANT),
            actions=tuple(_below(latest, monitoring.SHARE).values()),
            balance=latest.get(monitoring.BALANCE),
            spikes=tuple(self._spikes),
            steps_per_second=harmonic_mean(self._speeds) if self._speeds else None,
        )


def _below(row: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _run_in(path: Path) -> Path:
    """Returns the one run folder at or below a path."""
    found = sorted(each.parent for each in (path.rglob(records.NAME) if path.is_dir() else ()))
    if not found:
        raise FileError(f"{path}: no run here, there is no {records.NAME}. Give a run folder, as probe train names it.")
    if len(found) > 1:
        listed = ", ".join(str(each) for each in found[:3]) + (", ..." if len(found) > 3 else "")
        raise FileError(f"{path}: there are {len(found)} runs here ({listed}). Give one of them.")
    return found[0]
