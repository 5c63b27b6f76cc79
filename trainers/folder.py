"""The run folder: where its parts are, whether it can be started or continued, and its saved states."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.checkpoints.native import checkpoint_name
from probe.errors import FileError
from probe.trainers import record as records
from probe.trainers import state as states
from probe.trainers.configuration import Configuration
from probe.trainers.lock import NAME as LOCK
from probe.trainers.record import RunRecord
from probe.trainers.schedule import moment_reached, period_ended

_NEWEST = 2


@dataclass(frozen=True)
class RunFolder:
    """`<run>/<method>/seed<k>/` with run.toml, metrics.csv, events, `checkpoints/` and `state/`."""

    path: Path

    @property
    def occupied(self) -> bool:
        """Whether anything is there, but the lock of a process that begins or was killed."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(path.name != LOCK for path in self.path.iterdir())

    @property
    def states(self) -> list[Path]:
        """The saved states, oldest first."""
        return sorted((self.path / "state").glob("step_*.safetensors"))

    @property
    def state_steps(self) -> list[int]:
        """The steps of the saved states, oldest first."""
        return [_step(path) for path in self.states]

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps of the checkpoints, in order."""
        return sorted(_step(path) for path in (self.path / "checkpoints").glob("step_*.safetensors"))

    @property
    def replay(self) -> Path:
        """Where the rows of a replay are; they belong to the states."""
        return self.path / "state" / "replay"

    def checkpoint(self, step: int) -> Path:
        """Returns the path of a step's checkpoint."""
        return self.path / "checkpoints" / checkpoint_name(step)

    def check_free(self) -> None:
        """Raises `FileError` where a run is there already."""
        if self.occupied:
            raise FileError(
                f"{self.path}: there is something already. Continue it with --resume, or give another --out."
            )

    def read_record(self) -> RunRecord | None:
        """Returns the record of the run that is there; None where none was written yet.

        Raises:
            FileError: something else is there.
        """
        self._remove_partial_files()
        if (self.path / records.NAME).exists():
            return RunRecord.read(self.path)
        if self.occupied:
            raise FileError(f"{self.path}: no run folder, it has no {records.NAME}. Give another --out.")
        return None

    def newest_state(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Returns the newest state that is whole, or None where training had not begun, and what was wrong with others.

        Raises:
            FileError: training had begun and there is no whole state.
        """
        problems: list[str] = []
        for path in reversed(self.states):
            try:
                return states.load_state(path), problems
            except FileError as error:
                problems.append(str(error))
        begun = sorted(path for path in (self.path / "checkpoints").glob("*.safetensors") if path != self.checkpoint(0))
        if problems or begun:
            raise FileError(f"{self.path / 'state'}: no whole state to resume from. Train anew with another --out.")
        return None, []

    def is_finished(self, wanted: Configuration, steps: int | None) -> bool:
        """Whether the run that is there has its last checkpoint.

        Args:
            wanted: what preset and settings say now.
            steps: where to train to now, or None for where the run went.

        Raises:
            ConfigurationError: a setting differs from the run's.
        """
        if not (self.path / records.NAME).exists():
            return False
        configuration = RunRecord.read(self.path).continued(wanted, steps).configuration
        return self.checkpoint(configuration.total_steps).exists()

    def save_state(self, state: dict[str, Any], step: int, record: RunRecord) -> Path:
        """Writes a state, removes the older ones that nobody asked to keep, and returns where it is.

        Raises:
            FileError: the folder cannot be written or the disk is full.
        """
        written = self.path / "state" / states.NAME.format(step=step)
        states.save_state(written, state)
        for path in self.states[:-_NEWEST]:
            if not keeps(record, _step(path)):
                path.unlink()
        return written

    def _remove_partial_files(self) -> None:
        """Removes what a killed process was writing."""
        for folder in (self.path, self.path / "checkpoints", self.path / "state"):
            for path in folder.glob(".*.partial"):
                path.unlink()


def _step(state: Path) -> int:
    return int(state.stem.removeprefix("step_"))


def keeps(record: RunRecord, step: int) -> bool:
    """Whether the state of a step is kept for good."""
    settings, size = record.configuration.state, record.configuration.update_steps
    return period_ended(step, size, settings.keep_every) or moment_reached(step, size, settings.keep)
