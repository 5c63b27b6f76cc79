"""Task shifts and resets in a report: how deep a run's score fell, and when it was back."""

import csv
import io
from dataclasses import dataclass

from probe.checkpoints.native import NAME, NativeCheckpoint
from probe.figures import Material
from probe.figures.logs import TrainingLog
from probe.figures.names import step_name
from probe.recovery import LEVELS, Recovery, last_steps, logged_scores, recoveries, sawtooth_index

RECOVERY_WORDS = (
    "Score: the mean return of the last 20 episodes on the task, or the accuracy of an update. Before: its mean over "
    "the last tenth of the steps on the task before. Lowest: until the next shift. Drop: 1 - lowest / before. Back: "
    "steps until the score was back at that share of the score before, in its first fall below 90 %; 0 if it did not "
    "go below the share, a dash if it never came back. The next task need not be as easy as the one before."
)
_COLUMNS = ("run", "method", "seed", "shift", "before", "lowest", "drop", *(f"steps_to_{level}" for level in LEVELS))


@dataclass(frozen=True)
class RunRecovery:
    """The shifts and resets of one run."""

    run: str
    method: str
    seed: int
    series: str
    shifts: tuple[Recovery, ...]
    sawtooth: float | None
    """See `sawtooth_index`; None without resets."""

    @property
    def shown_rows(self) -> list[tuple[str, ...]]:
        """A line a shift."""
        return [
            (
                f"{self.series}, seed {self.seed}",
                step_name(each.shift),
                _number(each.before, 2),
                _number(each.lowest, 2),
                "-" if each.drop is None else f"{100 * each.drop:.0f} %",
                *("-" if steps is None else f"{steps:,}" for steps in each.recovered.values()),
            )
            for each in self.shifts
        ]

    @property
    def sawtooth_words(self) -> str:
        """The sawtooth index in a sentence."""
        return (
            f"{self.series}, seed {self.seed}: sawtooth index {_number(self.sawtooth, 2)} (mean drop at a reset over "
            "mean gain between resets)."
        )


def recovery_of(log: TrainingLog, material: Material) -> RunRecovery:
    """Measures one run of the material."""
    steps, scores = logged_scores(log.columns)
    return RunRecovery(
        log.run,
        log.method,
        log.seed,
        material.series[log.run, log.method],
        tuple(recoveries(steps, scores, last_steps(log.columns))),
        sawtooth_index(steps, scores, _resets(log)),
    )


def recovery_as_csv(material: Material) -> str:
    """Returns a line a task shift of every run; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    found = [recovery_of(log, material) for log in material.logs]
    for each in found:
        for shift in each.shifts:
            numbers = (shift.shift, shift.before, shift.lowest, shift.drop, *shift.recovered.values())
            writer.writerow((each.run, each.method, each.seed, *("" if value is None else value for value in numbers)))
    return ",".join(_COLUMNS) + "\n" + text.getvalue() if text.getvalue() else ""


def _resets(log: TrainingLog) -> list[int]:
    """Returns the last step before every reset that the newest checkpoint knows of."""
    checkpoints = sorted((log.path / "checkpoints").glob(NAME.split("{")[0] + "*"))
    if not checkpoints:
        return []
    done = NativeCheckpoint(checkpoints[-1]).metadata.interventions
    return [int(each["step"]) for each in done if str(each["method"]).startswith("reset")]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
