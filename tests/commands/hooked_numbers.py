"""What an analysis says of layers, against numbers that are made from what hooks kept of them."""

from typing import Any

import pytest
from torch import Tensor

from probe.results import Analysis

_TAU = 0.1


def assert_numbers_of_hooks(analysis: Analysis, step: int, layers: dict[str, Tensor]) -> None:
    """Compares dormant fraction and FAU of every layer at a step; no other layer may have been measured."""
    found: dict[str, dict[str, Any]] = {}
    for row in analysis.row_list():
        wanted = row.metric == "fau" or (row.metric == "dormant_fraction" and row.threshold == pytest.approx(_TAU))
        if wanted and row.aggregation == "layer" and row.step == step:
            found.setdefault(row.layer, {})[row.metric] = pytest.approx(row.value, abs=1e-6)
    assert {layer: _numbers(output) for layer, output in layers.items()} == found


def _numbers(output: Tensor) -> dict[str, float]:
    by_unit = output.transpose(0, 1).flatten(1) if output.ndim == 4 else output.T
    scores = by_unit.abs().double().mean(1)
    dormant = (scores <= _TAU * scores.mean()).double().mean().item()
    return {"dormant_fraction": dormant, "fau": (by_unit > 0).double().mean().item()}
