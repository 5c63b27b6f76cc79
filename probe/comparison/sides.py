"""A path -> one side of a comparison: one checkpoint of each of its seeds."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from probe.checkpoints import Checkpoint, Hints, Series, open_series
from probe.errors import ConfigurationError


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    path: str
    """As it was given."""
    series: tuple[Series, ...]
    """One a seed, by seed; each holds the one checkpoint that is compared."""

    @property
    def checkpoints(self) -> dict[int, Checkpoint]:
        """The compared checkpoint of each seed."""
        return {each.seed: each.checkpoints[0] for each in self.series}

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(self.checkpoints)

    @property
    def steps(self) -> tuple[int, ...]:
        """The step taken of each seed."""
        return tuple(checkpoint.step for checkpoint in self.checkpoints.values())


def open_sides(a: str | Path, b: str | Path, step: int | None = None, hints: Hints | None = None) -> tuple[Side, Side]:
    """Opens both sides of a comparison and takes one checkpoint of each seed.

    Args:
        a: A checkpoint, a series of one seed, or a folder (or glob) with several seeds of one method.
        b: Likewise.
        step: The nearest checkpoint to this step is taken; None: the last.
        hints: What checkpoints of other libraries do not say.

    Raises:
        FileError: nothing is there, or a file is damaged.
        ConfigurationError: a path holds several methods or one seed twice, or no checkpoint is near the step.
    """
    return _side(a, step, hints), _side(b, step, hints)


def _side(path: str | Path, step: int | None, hints: Hints | None) -> Side:
    series = sorted(open_series([path], hints), key=lambda each: each.seed)
    first = series[0]
    for each in series[1:]:
        if (each.run, each.method) != (first.run, first.method):
            raise ConfigurationError(
                f"{path}: '{first.run} / {first.method}' and '{each.run} / {each.method}' are in it, one side of a "
                f"comparison is one method. Give the folder of one, such as {first.path.parent.parent}."
            )
    for one, other in pairwise(series):
        if one.seed == other.seed:
            raise ConfigurationError(f"{path}: {one.path} and {other.path} both say seed {one.seed}. Give one of them.")
    return Side(str(path), tuple(replace(each, checkpoints=(_chosen(each, step),)) for each in series))


def _chosen(series: Series, step: int | None) -> Checkpoint:
    if step is None:
        return series.checkpoints[-1]
    steps = [checkpoint.step for checkpoint in series.checkpoints]
    nearest = min(series.checkpoints, key=lambda checkpoint: abs(checkpoint.step - step))
    # The usual distance of two checkpoints: every step within a fairly even series is near one, none in a hole.
    reach = median(later - earlier for earlier, later in pairwise(steps)) if len(steps) > 1 else 0
    if abs(nearest.step - step) > reach:
        raise ConfigurationError(
            f"{series.path}: no checkpoint near step {step:,}; the nearest of steps {steps[0]:,} to {steps[-1]:,} is "
            f"{nearest.step:,}. Give a step that both sides have, or leave --step out for the last."
        )
    return nearest
