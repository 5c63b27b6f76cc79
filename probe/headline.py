"""The few numbers of a network that are worth a curve while it trains, under the names that all logs share."""

from collections import defaultdict
from collections.abc import Mapping

from probe.modules import FROZEN, ModuleMap
from probe.probes.activity import Activity
from probe.probes.base import Reading
from probe.probes.dormancy import Dormancy
from probe.probes.rank import Rank
from probe.statistics.layer import LayerStatistics

DORMANCY_THRESHOLD = 0.025
_FRACTIONS = {
    "dormant_fraction": f"dormant_{DORMANCY_THRESHOLD}",
    "dead_fraction": "dead",
    "zero_fraction": "zero_fraction",
}
"""The probes' metric -> its name here; each is the average over a module's units."""
DORMANT = f"network/{_FRACTIONS['dormant_fraction']}/encoder"
"""The name that stands for a run where there is room for one number."""
_RANK = "effective_rank"

Headline = dict[str, float | None]
"""Values by `network/<measure>/<module>`; None where there is none."""


def headline_names(layers: Mapping[str, LayerStatistics], modules: ModuleMap) -> list[str]:
    """Returns the names that `headline` gives values; modules without a hidden nonlinearity have none."""
    hidden = _by_module(layers, modules)
    return [f"network/{name}/{module}" for module in hidden for name in (*_FRACTIONS.values(), _RANK)]


def headline(layers: Mapping[str, LayerStatistics], modules: ModuleMap) -> Headline:
    """Returns fractions of units, and the effective rank of each module's last layer.

    Args:
        layers: Statistics by layer id, in call order.
        modules: Which module a layer belongs to.

    Returns:
        None where there are fewer observations than units, or a value is not finite.
    """
    values: Headline = {}
    for module, own in _by_module(layers, modules).items():
        finite = all(statistics.finite for statistics in own.values())
        for metric, name in _FRACTIONS.items():
            values[f"network/{name}/{module}"] = _fraction(own, metric) if finite else None
        last, statistics = list(own.items())[-1]
        values[f"network/{_RANK}/{module}"] = _effective_rank(last, statistics) if finite else None
    return values


def _by_module(layers: Mapping[str, LayerStatistics], modules: ModuleMap) -> dict[str, dict[str, LayerStatistics]]:
    grouped: dict[str, dict[str, LayerStatistics]] = defaultdict(dict)
    for layer, statistics in layers.items():
        grouped[modules.module_of(layer)][layer] = statistics
    grouped.pop(FROZEN, None)
    return grouped


def _fraction(layers: Mapping[str, LayerStatistics], metric: str) -> float | None:
    """Returns the mean of a metric over a module's units."""
    probes = (Dormancy(thresholds=(DORMANCY_THRESHOLD,)), Activity())
    readings: list[Reading] = [
        reading
        for layer, statistics in layers.items()
        for probe in probes
        for reading in probe.compute(layer, statistics)
        if reading.metric == metric
    ]
    weights = [reading.weight or 0 for reading in readings]
    return sum(weight * (reading.value or 0.0) for weight, reading in zip(weights, readings, strict=True)) / sum(
        weights
    )


def _effective_rank(layer: str, statistics: LayerStatistics) -> float | None:
    return next(reading.value for reading in Rank().compute(layer, statistics) if reading.metric == _RANK)
