"""Analyses of chosen rows, for tests of what is said of them."""

import json
from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

from probe.results import Analysis, Row, open_analysis, write_analysis

STEPS = (0, 1000, 2000)
LAYERS = {"relu1": ("encoder", "relu"), "dense": ("encoder", "relu")}
"""Layer -> module and nonlinearity, in call order."""


def row(**changes: Any) -> Row:
    values = {
        "run": "demo", "method": "baseline", "seed": 0, "task": 0, "step": 0, "reference_step": -1, "arm": "",
        "draw": -1, "checkpoint": "c", "data": "d", "module": "all", "layer": "", "probe": "dormancy",
        "metric": "dormant_fraction", "aggregation": "micro", "value": 0.0, "status": "ok", "samples": 1000,
        "units": 64, "threshold": nan,
    }  # fmt: skip
    return Row(**(values | changes))


def analysis(
    tmp_path: Path,
    rows: list[Row],
    tasks: tuple[int, ...] = (0,),
    layers: Mapping[str, tuple[str, str]] = LAYERS,
    signal_rows: int = 10_000,
) -> Analysis:
    tables = {
        "checkpoints": [
            {"digest": f"c{step}", "run": "demo", "method": "baseline", "seed": 0, "task": 0, "step": step}
            for step in STEPS
        ],
        "data": [{"digest": "d" * (1 + task), "path": "d.h5", "task": task} for task in tasks],
        "layers": [
            {"checkpoint": "c0", "data": "d", "layer": name, "module": module, "function": function, "position": at}
            for at, (name, (module, function)) in enumerate(layers.items())
        ],
        "probes": [{"name": "signal", "version": 1, "parameters": json.dumps({"rows": signal_rows})}],
    }
    write_analysis(tmp_path / "a.h5", rows, tables, [], {})
    return open_analysis(tmp_path / "a.h5")
