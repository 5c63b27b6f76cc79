"""Writes last_layer.csv from an analysis of all runs: `python -m docs.reproduction.last_layer ANALYSIS.h5`."""

import csv
import sys
from pathlib import Path

from probe.report import open_material

PATH = Path(__file__).parent / "last_layer.csv"
COLUMNS = ("method", "seed", "step", "metric", "value")
METRICS = {"zero_fraction": "activity", "dead_fraction": "activity", "effective_rank": "rank"}
"""Metric -> its probe."""


def main() -> None:
    """Writes the numbers of the encoder's last layer at every checkpoint."""
    material = open_material([Path(sys.argv[1])])
    layer = material.layer(None)
    assert layer is not None, "the analysis holds no layer"
    methods = {name: method for (_, method), name in material.series.items()}
    with PATH.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for metric, probe in METRICS.items():
            for curve in material.curves(probe, metric, "layer", label=layer.label):
                for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
                    writer.writerow((methods[curve.series], curve.seed, step, metric, f"{value:.6g}"))
    print(f"{PATH}: {layer.name}")


if __name__ == "__main__":
    main()
