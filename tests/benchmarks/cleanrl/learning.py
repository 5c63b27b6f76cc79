"""Learning beside CleanRL's own loop, and bfloat16 beside float32: what the returns come to, over seeds.

    python -m tests.benchmarks.cleanrl.learning loops FOLDER --checkout PATH
    python -m tests.benchmarks.cleanrl.learning precisions FOLDER

One run at a time, each in a process of one thread. A finished run is kept in FOLDER and not made again; ours, which
`probe train` makes, continue where they were stopped.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from probe.files import replace_on_success
from probe.statistics.paired import paired_t_interval
from probe.statistics.welch import welch_interval
from tests.benchmarks.cleanrl.process import play_in_a_process

UPDATE_STEPS = 64 * 256
"""Decisions of an update with CleanRL's settings."""
THEIRS = "cleanrl"
STEP, RETURN = "step", "return/train"
_PROBE = "from probe.commands.app import main; main()"


@dataclass(frozen=True)
class Comparison:
    """Runs that should learn alike: the same game and settings, by different code or in different precision."""

    preset: str
    steps: int
    arms: tuple[str, ...]
    """`cleanrl`, or the precision of ours."""


COMPARISONS = {
    "loops": Comparison("coinrun-cleanrl", 7 * UPDATE_STEPS, (THEIRS, "float32", "bfloat16")),
    "precisions": Comparison("coinrun", 300_000, ("float32", "bfloat16")),
}
"""CleanRL's loop rounds 100,000 steps down to whole updates; both are given one more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the runs that are not there yet and prints both ends of the learning curves."""
    parser = _parser()
    options = parser.parse_args(arguments)
    comparison = COMPARISONS[options.comparison]
    if THEIRS in comparison.arms and options.checkout is None and not options.report:
        parser.error("loops needs --checkout")
    if not options.report:
        for seed in range(options.seeds):
            for arm in comparison.arms:
                _run(comparison, arm, seed, options)
    print(f"{comparison.preset}, {comparison.steps:,} steps, {RETURN} by update")
    _report({arm: _curves(options.folder / arm, comparison.steps) for arm in comparison.arms})


def _run(comparison: Comparison, arm: str, seed: int, options: argparse.Namespace) -> None:
    """Makes a run unless it is there."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if arm == THEIRS:
        path = options.folder / arm / f"seed{seed}.csv"
        if not path.exists():
            print(f"{path}: CleanRL's loop starts", flush=True)
            _keep(path, _their_returns(options.checkout, options.game or "coinrun", comparison.steps, seed))
        return
    settings = [f"steps={comparison.steps}", f"compute.precision={arm}", "compute.threads=1"]
    if options.game:
        settings.append(f"environment.id=procgen:{options.game}")
    flags = [part for setting in settings for part in ("--set", setting)]
    out = ["--seeds", str(seed), "--out", str(options.folder / arm), "--resume"]
    subprocess.run([sys.executable, "-c", _PROBE, "train", comparison.preset, *flags, *out], check=True)


def _their_returns(checkout: Path, game: str, steps: int, seed: int) -> list[tuple[int, float | None]]:
    """Returns the mean return of the episodes that ended in each update of CleanRL's loop, by the step at its end."""
    settings = {"env_id": game, "total_timesteps": steps, "seed": seed, "cuda": False}
    episodes = play_in_a_process(checkout, settings, "kept")["episodes"]
    rows: list[tuple[int, float | None]] = []
    for end in range(UPDATE_STEPS, steps + 1, UPDATE_STEPS):
        returns = [value for step, value in episodes if end - UPDATE_STEPS < step <= end]
        rows.append((end, sum(returns) / len(returns) if returns else None))
    return rows


def _keep(path: Path, rows: list[tuple[int, float | None]]) -> None:
    with replace_on_success(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([(STEP, RETURN), *rows])


def _curves(folder: Path, steps: int) -> list[NDArray[np.float64]]:
    """Returns the learning curve of each finished run in a folder; NaN where no episode ended in an update."""
    files = [*sorted(folder.glob("seed*.csv")), *sorted(folder.glob("baseline/seed*/metrics.csv"))]
    curves = []
    for path in files:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and int(rows[-1][STEP]) >= steps:
            curves.append(np.array([float(row[RETURN] or "nan") for row in rows]))
    return curves


def _report(curves: dict[str, list[NDArray[np.float64]]]) -> None:
    """Prints the mean of the first and the last quarter of updates, with 95 % intervals over seeds."""
    ends = {}
    for arm, found in curves.items():
        quarters = np.array([[np.nanmean(part) for part in np.array_split(curve, 4)] for curve in found])
        if not found:
            print(f"  {arm:9} no finished run")
            continue
        for name, values in (("first", quarters[:, 0]), ("last", quarters[:, -1])):
            low, high = paired_t_interval(values)
            seeds = ", ".join(f"{value:.2f}" for value in values)
            print(f"  {arm:9} {name:5} quarter: {values.mean():.2f} ({low:.2f} to {high:.2f}); by seed {seeds}")
        ends[arm] = quarters[:, -1]
    for one, other in combinations(ends, 2):
        _report_difference(one, other, ends[one], ends[other])


def _report_difference(one: str, other: str, first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
    low, high = welch_interval(first, second)
    difference = second.mean() - first.mean()
    spread = max(float(np.ptp(first)), float(np.ptp(second)))
    verdict = "within" if abs(difference) <= spread else "OUTSIDE"
    print(
        f"  {other} less {one}, last quarter: {difference:+.2f} ({low:+.2f} to {high:+.2f}), {verdict} the seeds' "
        f"spread of {spread:.2f}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.cleanrl.learning",
        description="Trains with CleanRL's loop and ours, or with ours in bfloat16 and float32, and compares returns.",
    )
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("folder", type=Path, help="where the runs are, and where missing ones are made")
    parser.add_argument("--checkout", type=Path, metavar="PATH", help="of github.com/vwxyzjn/cleanrl; for `loops`")
    parser.add_argument("--game", help="of Procgen, such as starpilot; the preset's, CoinRun, without it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="print what is there and train nothing")
    return parser


if __name__ == "__main__":
    main()
