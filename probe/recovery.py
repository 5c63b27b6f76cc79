"""How a run's score comes back after a task shift, and how it swings around resets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from probe.arrays import NDArray

LEVELS = (0.5, 0.9)
"""Shares of the score before a shift whose return is timed."""
BEFORE = 0.1
"""Share of the steps on a task, its last ones, that the score before a shift is a mean over."""
_SCORES = ("return/recent", "accuracy/train")
"""Columns of a training log that start anew at a shift."""

Steps = Int[NDArray[np.int64], "row"]
Scores = Float[NDArray[np.float64], "row"]


@dataclass(frozen=True)
class Recovery:
    """One task shift of one run; None where there is no number."""

    shift: int
    """Last step of the task before."""
    before: float | None
    """Mean score over the last tenth of that task's steps."""
    lowest: float | None
    """Lowest score until the next shift."""
    drop: float | None
    """1 - lowest / before; negative where the score never fell below; None where the score before was not positive."""
    recovered: dict[float, int | None]
    """Steps from the shift until the score was back at that share of the score before, in its first fall below 90 % of
    it; 0 where that did not go below the share, None where it never came back."""


def recoveries(steps: Steps, scores: Scores, shifts: Sequence[int]) -> list[Recovery]:
    """Measures every task shift of a run.

    Args:
        steps: of the logged scores, ascending.
        scores: running mean of the returns, which starts anew at a shift: a mean that reached back across the shift
            would have recovered before it fell.
        shifts: the last step of every task but the last, ascending.
    """
    edges = [0, *shifts, int(steps[-1]) if len(steps) else 0]
    return [
        _recovery(steps, scores, start, shift, end)
        for start, shift, end in zip(edges[:-2], edges[1:-1], edges[2:], strict=True)
    ]


def _recovery(steps: Steps, scores: Scores, start: int, shift: int, end: int) -> Recovery:
    last = scores[(steps > shift - BEFORE * (shift - start)) & (steps <= shift)]
    after = (steps > shift) & (steps <= end)
    before = float(last.mean()) if len(last) else None
    lowest = float(scores[after].min()) if after.any() else None
    if before is None or before <= 0:
        return Recovery(shift, before, lowest, None, dict.fromkeys(LEVELS))
    if lowest is None:
        return Recovery(shift, before, None, None, dict.fromkeys(LEVELS))
    return Recovery(
        shift, before, lowest, 1 - lowest / before, _times_back(steps[after] - shift, scores[after] / before)
    )


def _times_back(times: Steps, shares: Scores) -> dict[float, int | None]:
    """Returns when each level was reached again in the first fall below the highest of them; 0 for those never left.

    The first episodes to end after a shift are the short ones, and those that began before it: a score that has not
    fallen yet is no recovery. And a mean of few episodes dips by chance later on: that is no fall of this shift.
    """
    below = np.flatnonzero(shares < max(LEVELS))
    if not len(below):
        return dict.fromkeys(LEVELS, 0)
    again = np.flatnonzero(shares[below[0] :] >= max(LEVELS))
    fall = slice(below[0], below[0] + again[0] + 1 if len(again) else len(shares))
    return {level: _first_back(times[fall], shares[fall] >= level) for level in LEVELS}


def _first_back(times: Steps, reached: Bool[NDArray[np.bool_], "row"]) -> int | None:
    if reached.all():
        return 0
    back = times[int(np.argmin(reached)) :][reached[int(np.argmin(reached)) :]]
    return int(back[0]) if len(back) else None


def sawtooth_index(steps: Steps, scores: Scores, resets: Sequence[int]) -> float | None:
    """Returns the mean drop at a reset over the mean gain between resets; None with fewer than two resets, or no gain.

    The drop is the last score at or before the reset minus the lowest before the next one; the gain is the last score
    before the next reset, or the end, minus that lowest. 0: resets cost nothing; 1: what is regained is lost again.

    Args:
        steps: of the logged scores, ascending.
        scores: running mean of the returns.
        resets: the last step before each reset.
    """
    moments = sorted(set(resets))
    if len(moments) < 2:
        return None
    drops, gains = [], []
    for reset, following in zip(moments, [*moments[1:], steps[-1] if len(steps) else 0], strict=True):
        before, after = scores[steps <= reset], scores[(steps > reset) & (steps <= following)]
        if len(before) and len(after):
            drops.append(before[-1] - after.min())
            gains.append(after[-1] - after.min())
    gain = float(np.mean(gains)) if gains else 0.0
    return float(np.mean(drops)) / gain if gain > 0 else None


def last_steps(columns: Mapping[str, NDArray[np.float64]]) -> list[int]:
    """Returns the last step of every task but the last, from a training log's columns `step` and `task`."""
    tasks = columns.get("task", np.zeros(0))
    return [int(columns["step"][row]) for row in np.flatnonzero(np.diff(tasks))]


def logged_scores(columns: Mapping[str, NDArray[np.float64]]) -> tuple[Steps, Scores]:
    """Returns (steps, scores) of a training log: the running mean return, or a supervised stream's accuracy."""
    scores = next((columns[name] for name in _SCORES if name in columns), np.full(len(columns["step"]), np.nan))
    there = np.isfinite(scores)
    return columns["step"][there].astype(np.int64), scores[there]
