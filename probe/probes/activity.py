"""Activity: how often each unit fires, which never do, and which hardly do."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from probe.probes.base import Probe, Reading, register
from probe.probes.limits import Share
from probe.statistics.layer import LayerStatistics

HISTOGRAM_BINS = 20
"""Equal bins of the activation rate over [0, 1]."""


def dead_fraction(activation_rate: Float[Tensor, "unit"]) -> float:
    """Returns the share of units that were never above zero."""
    return (activation_rate == 0).double().mean().item()


def low_activity_fraction(activation_rate: Float[Tensor, "unit"], below: float) -> float:
    """Returns the share of units whose activation rate is strictly below a bound; dead ones are among them."""
    return (activation_rate < below).double().mean().item()


def dead_units(activation_rate: Float[Tensor, "unit"]) -> Int[Tensor, "dead"]:
    """Returns the indices of the units that were never above zero, ascending."""
    return torch.nonzero(activation_rate == 0).flatten()


@register("activity", version=1)
@dataclass(frozen=True)
class Activity(Probe):
    """Dead and low-activity units, the average activation rate with its histogram, and the fraction of zeros.

    Question: which units never fire on any observation, which hardly ever, and how often does the average unit?
    Formula: of each unit's activation rate `r_i = P(h_i > 0)`:
        - `dead_fraction` (share of units): `mean_i 1(r_i = 0)`
        - `low_activity_fraction` (share of units; `low_activity`): `mean_i 1(r_i < low_activity)`; dead
          units are among them
        - `activation_rate` (share): `mean_i r_i`
        - `zero_fraction` (share): `P(h = 0)` over all values, which some public code calls "dead units"
    Axes: r_i runs over samples and positions; a unit of a convolution is a channel, of a CReLU layer half a pair.
    Units: all four in [0, 1]. A layer without any dead unit commonly has a fraction of zeros of 0.5.
    Cost: none beyond the one forward pass.
    Status: `ok`; null and `nonfinite` on NaN or infinity.
    Source: dead units and the bound of 0.01, Dohare et al. 2024, doi:10.1038/s41586-024-07711-7 (published code); zero
        fraction, Juliani & Ash 2024, arXiv:2405.19153 (published code).
    Do not trust: where outputs are seldom exactly zero (leaky ReLU, GELU, tanh): none of these then means inactive;
        CReLU's dead units as lost, a pair of one sign has a dead half and a linear one, and its `zero_fraction` is at
        least 0.5. A unit silent on N independent samples has a rate below 3/N at 95 % confidence, and frames are not
        independent.
    """

    low_activity: Share = 0.01
    """Activation rate below which a unit counts as hardly active."""
    reads = frozenset({"activation_rate", "zero_rate"})

    def compute(self, layer: str, statistics: LayerStatistics) -> list[Reading]:
        """Returns the four fractions, weighted by units."""
        rate, units = statistics.activation_rate, statistics.units
        low = low_activity_fraction(rate, self.low_activity)
        return [
            Reading("dead_fraction", dead_fraction(rate), weight=units),
            Reading("low_activity_fraction", low, threshold=self.low_activity, weight=units),
            Reading("activation_rate", rate.mean().item(), weight=units),
            Reading("zero_fraction", statistics.zero_rate.mean().item(), weight=units),
        ]

    def arrays(self, layer: str, statistics: LayerStatistics) -> dict[str, NDArray[Any]]:
        """Returns the indices of dead units and the counts of units per bin of activation rate over [0, 1]."""
        rate = statistics.activation_rate
        histogram, _ = np.histogram(rate.numpy(), bins=HISTOGRAM_BINS, range=(0.0, 1.0))
        return {"dead_units": dead_units(rate).numpy(), "activation_rate_histogram": histogram}
