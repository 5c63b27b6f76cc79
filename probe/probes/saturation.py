"""Saturation: units at the flat end of their nonlinearity, by the test that fits the nonlinearity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from probe.capture import Layer
from probe.capture.pairs import PAIRED
from probe.features import unit_columns
from probe.passes import Observer, observed
from probe.probes.base import Finding, Findings, Probe, Reading, Status, register
from probe.probes.limits import Limits, NotNegative
from probe.subject import Subject

Values = Float[Tensor, "value unit"]

_BOUNDED = ("tanh", "sigmoid")
_CRELU, _FOURIER = "crelu", "fourier"
_TANH_STATE = "rnn_tanh"
_SIGN_SPLIT = ("leaky_relu", "prelu", "rrelu")


def _gelu_slope(z: Tensor, _: Tensor) -> Tensor:
    below: Tensor = torch.special.ndtr(z)
    return below + z * torch.exp(-z.square() / 2) / sqrt(2 * pi)


def _silu_slope(z: Tensor, _: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))


def _mish_slope(z: Tensor, _: Tensor) -> Tensor:
    gate = torch.tanh(F.softplus(z))
    return gate + z * torch.sigmoid(z) * (1 - gate.square())


def _side_slope(z: Tensor, h: Tensor) -> Tensor:
    # Linear on either side of zero: h / z is the slope, whatever the function's own parameter.
    return torch.where(z == 0, 1.0, h / z)


_SLOPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": lambda _, h: 1 - h.square(),
    "sigmoid": lambda _, h: h * (1 - h),
    "gelu": _gelu_slope,
    "silu": _silu_slope,
    "mish": _mish_slope,
    **dict.fromkeys(_SIGN_SPLIT, _side_slope),
}


def slopes(function: str, z: Values, h: Values) -> Values:
    """Returns f'(z) of a nonlinearity h = f(z); of GELU's tanh form, the exact form's, within 1e-3."""
    return _SLOPES[function](z, h)


def saturated_values(function: str, h: Values, margin: float) -> Bool[Tensor, "value unit"]:
    """Returns where a bounded nonlinearity is within a margin of a bound: |tanh| > 1 - m; sigmoid < m or > 1 - m."""
    if function == "tanh":
        return h.abs() > 1 - margin
    if function == "sigmoid":
        return (h < margin) | (h > 1 - margin)
    return torch.zeros_like(h, dtype=torch.bool)


class UnitSums:
    """Additive float64 sums per unit over samples and positions; of a layer of pairs, z has a column a pair.

    Attributes:
        count: Values a unit.
        above: Values with z > 0.
        below: Values with z < 0.
        first_quarter: Lowest quarter turn that z was in.
        last_quarter: Highest quarter turn that z was in.
        saturated: Values within the margin of a bound.
        slope: Sum of |f'(z)|.
    """

    def __init__(self, function: str, margin: float) -> None:
        """Starts empty, for a nonlinearity and the margin within which it counts as saturated."""
        self.function, self.margin, self.count = function, margin, 0
        self.above = self.below = self.saturated = self.slope = torch.zeros(())
        self.first_quarter, self.last_quarter = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        self._origin = self._total = self._square = torch.zeros(())

    def update(self, z: Values, h: Float[Tensor, "value output"]) -> None:
        """Adds values: pre-activations and outputs, of a Fourier layer two outputs for each pre-activation."""
        if not self.count:
            self._origin = h[0]
        # Differences to the first value: of a constant unit they are exact zeros, and so is its deviation.
        moved = h - self._origin
        self.count += len(h)
        self._total = self._total + moved.sum(0)
        self._square = self._square + moved.square().sum(0)
        self.above = self.above + (z > 0).double().sum(0)
        self.below = self.below + (z < 0).double().sum(0)
        self.saturated = self.saturated + saturated_values(self.function, h, self.margin).double().sum(0)
        if self.function in _SLOPES:
            self.slope = self.slope + slopes(self.function, z, h).abs().sum(0)
        if self.function == _FOURIER:
            turns = quarter_turns(z)
            self.first_quarter = torch.minimum(self.first_quarter, turns.amin(0))
            self.last_quarter = torch.maximum(self.last_quarter, turns.amax(0))

    @property
    def deviation(self) -> Float[Tensor, "unit"]:
        """Standard deviation of h; of a Fourier pair, of the point (sin z, cos z)."""
        variance = (self._square / self.count - (self._total / self.count).square()).clamp(min=0.0)
        return (variance.reshape(2, -1).sum(0) if self.function == _FOURIER else variance).sqrt()

    @property
    def finite(self) -> bool:
        """Whether no NaN and no infinity was seen."""
        return bool((self._square.isfinite() & self.slope.isfinite()).all())


def quarter_turns(z: Values) -> Values:
    """Returns k where z lies in [k pi/2 - pi/4, k pi/2 + pi/4): sin z (k even) or cos z (k odd) is nearly linear."""
    return torch.floor(z / (pi / 2) + 0.5)


class SaturationObserver(Observer):
    """The sums of every layer that has a test; of pairs, over one pre-activation a pair.

    Attributes:
        sums: By layer id.
    """

    reads_pre_activations = True

    def __init__(self, margin: float) -> None:
        """Starts empty."""
        self.sums: dict[str, UnitSums] = {}
        self._margin = margin

    def see_layer(self, layer: Layer, output: Tensor, pre_activation: Tensor | None) -> None:
        """Adds a batch of one layer."""
        if layer.function == _TANH_STATE:
            # h = tanh(z): the test reads h alone, whose sign is that of z.
            function, pre_activation = "tanh", output
        else:
            function = layer.function
        if pre_activation is None or function not in (*_SLOPES, *PAIRED):
            return
        z = unit_columns(pre_activation)
        h = z if function == _CRELU else unit_columns(output)
        self.sums.setdefault(layer.id, UnitSums(function, self._margin)).update(z, h)


@register("saturation", version=2)
@dataclass(frozen=True)
class Saturation(Probe):
    """Saturated, flat, linearised and fixed-sign units, by the test that fits each layer's nonlinearity.

    Question: which units have stopped bending or stopped passing gradients, where zeros do not show it?
    Formula: `h = f(z)`, z the pre-activation. The captured function decides which of these a layer has:
        - `saturated_fraction` (share of values; `margin`): tanh with `|h| > 1 - margin`; sigmoid with `h < margin` or
          `h > 1 - margin`
        - `saturated_unit_fraction` (share of units; `margin` or `least_slope`): tanh and sigmoid, units of which every
          value is saturated; GELU, SiLU and Mish, units with `std(h) < least_deviation` and `mean |f'(z)| <
          least_slope`
        - `flat_unit_fraction` (share of units; `least_deviation`): these five, units with `std(h) < least_deviation`
        - `linearised_unit_fraction` (share of units): leaky ReLU, PReLU and RReLU, units whose z is above zero always
          or never
        - `mean_slope` (slope): all eight, `mean |f'(z)|`
        - `fixed_sign_fraction` (share of pairs): CReLU, (relu(z), relu(-z)), pairs whose z is never above zero or never
          below: a linear unit and a dead half
        - `dead_pair_fraction` (share of pairs): CReLU, pairs with `z = 0` throughout
        - `linearised_pair_fraction` (share of pairs): deep Fourier features, (sin z, cos z), pairs whose z stays in one
          quarter turn around a zero of sin or of cos, where that one is linear within 0.03
        - `flat_pair_fraction` (share of pairs; `least_deviation`): deep Fourier features, pairs with `sqrt(var(sin z) +
          var(cos z)) < least_deviation`; none saturates, its slope is `|(cos z, -sin z)| = 1` everywhere
    Axes: samples and positions; a unit of a convolution is a channel. Units of CReLU and Fourier layers are pairs, half
        the width of the output. h_t of a tanh RNN is read as tanh, its samples are time steps. Modules average over the
        layers that have the test (`macro`), and by units or, for shares of values and the slope, by values (`micro`).
    Units: fractions in [0, 1]; slopes of these functions lie in [0, 1.13], leaky ones at most 1.
    Cost: the forward pass that probes of a checkpoint share, in which every value of these nonlinearities is taken to
        float64.
    Status: null and `not_applicable` for ReLU that is not CReLU (`activity` has its dead units) and for nonlinearities
        without a test here, LSTM and GRU among them; `degenerate` and 1.0 for a CReLU layer with z = 0 throughout; null
        and `nonfinite` on NaN or infinity.
    Source: bounds, Juliani & Ash 2024, arXiv:2405.19153 (published code); deviation, Moalla et al. 2024,
        arXiv:2405.00662; CReLU as remedy, Abbas et al. 2023, arXiv:2303.07507; deep Fourier features, a balance
        of linearity and nonlinearity, Lewandowski et al. 2024, arXiv:2410.20634. `least_slope` and the tests of pairs
        are this project's own.
    Do not trust: deviations of a convolution's channel, which also vary over positions: a channel that shows the same
        map always is not flat. Pairs whose halves are not made of one tensor and joined at once are not recognised.
    """

    needs = "network"

    margin: Annotated[float, Limits(above=0, below=0.5)] = 0.01
    """Distance from a bound of tanh or sigmoid within which a value is saturated."""
    least_deviation: NotNegative = 1e-3
    """Standard deviation below which a unit is flat."""
    least_slope: NotNegative = 0.01
    """Mean |f'(z)| below which a flat unit of GELU, SiLU or Mish is saturated."""

    def observer(self, subject: Subject) -> Observer:
        """Gathers sums over pre-activations and outputs."""
        return SaturationObserver(self.margin)

    def measure(self, subject: Subject) -> Findings:
        """Returns the readings of every layer."""
        collector = observed(subject, self, SaturationObserver)
        found: list[Finding] = []
        for layer, statistics in subject.statistics.items():
            sums = collector.sums.get(layer)
            if sums is None:
                status: Status = "not_applicable" if statistics.finite else "nonfinite"
                readings = [Reading("saturated_unit_fraction", None, status)]
            else:
                readings = self.read(sums)
            units = statistics.units if sums is None else len(sums.above)
            found += [Finding(reading, layer, units=units) for reading in readings]
        return Findings(found)

    def read(self, sums: UnitSums) -> list[Reading]:
        """Returns the readings of one layer by its nonlinearity."""
        kinds = {_CRELU: self._of_crelu, _FOURIER: self._of_fourier}
        readings = list(kinds.get(sums.function, self._of_units)(sums))
        return readings if sums.finite else [replace(each, value=None, status="nonfinite") for each in readings]

    def _of_crelu(self, sums: UnitSums) -> Iterator[Reading]:
        above, below = sums.above > 0, sums.below > 0
        status: Status = "ok" if bool((above | below).any()) else "degenerate"
        yield replace(_share("fixed_sign_fraction", ~(above & below)), status=status)
        yield replace(_share("dead_pair_fraction", ~(above | below)), status=status)

    def _of_fourier(self, sums: UnitSums) -> Iterator[Reading]:
        yield _share("linearised_pair_fraction", sums.first_quarter == sums.last_quarter)
        yield _share("flat_pair_fraction", sums.deviation < self.least_deviation, self.least_deviation)

    def _of_units(self, sums: UnitSums) -> Iterator[Reading]:
        flat = sums.deviation < self.least_deviation
        if sums.function in _SIGN_SPLIT:
            yield _share("linearised_unit_fraction", (sums.above == 0) | (sums.above == sums.count))
        elif sums.function in _BOUNDED:
            yield _mean_of_values("saturated_fraction", sums.saturated, sums.count, self.margin)
            yield _share("saturated_unit_fraction", sums.saturated == sums.count, self.margin)
        else:
            still = flat & (sums.slope / sums.count < self.least_slope)
            yield _share("saturated_unit_fraction", still, self.least_slope)
        if sums.function not in _SIGN_SPLIT:
            yield _share("flat_unit_fraction", flat, self.least_deviation)
        yield _mean_of_values("mean_slope", sums.slope, sums.count)


def _share(metric: str, mask: Bool[Tensor, "unit"], threshold: float | None = None) -> Reading:
    return Reading(metric, mask.double().mean().item(), threshold=threshold, weight=len(mask))


def _mean_of_values(metric: str, sums: Float[Tensor, "unit"], count: int, threshold: float | None = None) -> Reading:
    return Reading(metric, sums.mean().item() / count, threshold=threshold, weight=count * len(sums))
