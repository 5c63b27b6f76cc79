"""Readings of the network on its own latest observations, by the probes' own formulas."""

import torch
from torch import Tensor

from probe.capture import capture
from probe.headline import headline, headline_names
from probe.inputs import blank_observation
from probe.networks import Network
from probe.statistics.collector import StatisticsCollector
from probe.trainers.base import Metrics, module_norms

_BATCH = 64


def columns(network: Network) -> list[str]:
    """Returns the names that `measure` gives values, and those of the gradient norms.

    Modules without a hidden nonlinearity, such as a linear head, have norms only.
    """
    layers = collected(network, blank_observation(network.spec.observation_shape)).layers
    norms = [f"network/{norm}/{module}" for norm in ("weight_norm", "gradient_norm") for module in network.spec.modules]
    return headline_names(layers, network.spec.module_map) + norms


def measure(network: Network, observations: Tensor) -> Metrics:
    """Reads fractions of units, the effective rank of each module's last layer, and weight norms; in float32.

    Args:
        network: left as it was, in the mode that it was in.
        observations: as they are stored.

    Returns:
        Values by name; None where there are fewer observations than units, or a value is not finite.
    """
    metrics: Metrics = headline(collected(network, observations).layers, network.spec.module_map)
    norms = module_norms(network, gradients=False)
    return metrics | {f"network/weight_norm/{module}": norm.item() for module, norm in norms.items()}


@torch.no_grad()
def collected(network: Network, observations: Tensor, rank: bool = True) -> StatisticsCollector:
    """Returns the statistics of every hidden layer over observations, in float32.

    Args:
        network: left as it was, in the mode that it was in.
        observations: as they are stored.
        rank: whether to keep what spectra need.
    """
    training = network.training
    collector = StatisticsCollector(rank)
    network.eval()
    with capture(network, collector) as outputs:
        for batch in torch.split(observations, _BATCH):
            network(batch)
    collector.drop(outputs.layers)
    network.train(training)
    return collector
