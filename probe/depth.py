"""How a positive quantity changes from layer to layer."""

from collections.abc import Sequence

import numpy as np


def log_slope(values: Sequence[float]) -> float | None:
    """Returns the slope of the least-squares line through ln(value) over depth 0, 1, 2, ...: nats a layer.

    None below two layers, and where a value is not positive and finite.
    """
    if len(values) < 2 or not all(0 < value < float("inf") for value in values):
        return None
    depths, logs = np.arange(len(values)) - (len(values) - 1) / 2, np.log(values)
    return float(depths @ logs / (depths @ depths))


def depth_ratio(values: Sequence[float]) -> float | None:
    """Returns last / first; None below two layers and where the first is 0 or one is not finite."""
    if len(values) < 2 or not values[0] > 0 or not np.isfinite((values[0], values[-1])).all():
        return None
    return values[-1] / values[0]


def verdict(ratio: float, fall: float) -> int:
    """Returns -1 where a quantity vanishes (ratio below `fall`), 1 where it explodes (above 1 / fall), else 0."""
    return -1 if ratio < fall else int(ratio > 1 / fall)
