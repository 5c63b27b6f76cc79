"""Prints the table of the methods from committed logs and rows: `python -m docs.reproduction.table`."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from docs.reproduction import last_layer
from probe.arrays import NDArray
from probe.figures.logs import TrainingLog, open_log
from probe.figures.names import method_name
from probe.recovery import last_steps, logged_scores, recoveries
from probe.statistics.paired import paired_t_interval
from probe.statistics.welch import welch_interval

FOLDER = Path(__file__).parent
LAST = 3
"""Evaluations whose mean is a run's test return: the noise of one evaluation of 50 episodes is large."""

Measures = Mapping[str, Callable[[TrainingLog], float]]


def main() -> None:
    """Prints the table, then each method's difference from the baseline in test return."""
    logs = [open_log(path.parent) for path in sorted((FOLDER / "runs").glob("*/*/metrics.csv"))]
    final = _last_layer()
    measures: Measures = {
        "Test return": lambda log: float(np.mean(log.logged("return/test")[1][-LAST:])),
        "Zeros in the last encoder layer, %": lambda log: 100 * final[log.method, log.seed, "zero_fraction"],
        "Dead units there, %": lambda log: 100 * final[log.method, log.seed, "dead_fraction"],
        "Effective rank there": lambda log: final[log.method, log.seed, "effective_rank"],
        "Value bias": lambda log: float(np.mean(log.logged("value/test_bias")[1][-LAST:])),
        "Drop at the shifts, %": _mean_drop,
    }
    methods = sorted({log.method for log in logs}, key=lambda name: name != "baseline")
    values = {
        (method, name): np.array([measure(log) for log in logs if log.method == method])
        for method in methods
        for name, measure in measures.items()
    }
    _print_table(methods, list(measures), values)
    print()
    for method in methods[1:]:
        first, second = values["baseline", "Test return"], values[method, "Test return"]
        low, high = welch_interval(first, second)
        print(f"- {method_name(method)}: {second.mean() - first.mean():+.2f} ({low:+.2f} to {high:+.2f})")


def _last_layer() -> dict[tuple[str, int, str], float]:
    """Returns the last encoder layer's numbers at the last checkpoint, by method, seed and metric."""
    with last_layer.PATH.open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["step"]))
    return {(row["method"], int(row["seed"]), row["metric"]): float(row["value"]) for row in rows}


def _mean_drop(log: TrainingLog) -> float:
    drops = [each.drop for each in recoveries(*logged_scores(log.columns), last_steps(log.columns))]
    return 100 * float(np.mean([drop for drop in drops if drop is not None]))


def _print_table(
    methods: Sequence[str], names: Sequence[str], values: Mapping[tuple[str, str], NDArray[np.float64]]
) -> None:
    print("| Method | " + " | ".join(names) + " |")
    print("|---|" + "---:|" * len(names))
    for method in methods:
        print(f"| {method_name(method)} | " + " | ".join(_cell(values[method, name]) for name in names) + " |")


def _cell(draws: NDArray[np.float64]) -> str:
    low, high = paired_t_interval(draws)
    return f"{draws.mean():.1f} ± {(high - low) / 2:.1f}"


if __name__ == "__main__":
    main()
