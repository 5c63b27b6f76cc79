"""Redundancy: units that say what another unit says, and layers that say what the layer before said."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probe.capture import Layer, unit_axis
from probe.features import feature_rows, has_row_per_observation
from probe.modules import ModuleMap
from probe.passes import Observer, observed, share_pass
from probe.probes.base import Finding, Findings, Probe, Reading, Status, register
from probe.probes.limits import Limits
from probe.probes.rank import SAMPLES_PER_UNIT
from probe.statistics.covariance import CrossCovariance, linear_cka
from probe.statistics.layer import MAXIMUM_FEATURES
from probe.subject import Subject

LEAST_SAMPLES = 30
"""Samples below which chance alone correlates units."""
ROUNDING = 1e-5
"""Relative difference up to which two float32 outputs, or one at two observations, are the same number."""


def varying_units(covariance: Float[Tensor, "unit unit"], means: Float[Tensor, "unit"]) -> Bool[Tensor, "unit"]:
    """Returns which units vary by more than rounding: std > 1e-5 of their root mean square."""
    variance = covariance.diagonal().clamp(min=0.0)
    return variance > ROUNDING**2 * (variance + means.square())


def correlated_units(
    covariance: Float[Tensor, "unit unit"], varying: Bool[Tensor, "unit"], above: float
) -> Bool[Tensor, "unit"]:
    """Returns which units have |correlation| above a bound with another unit; constant ones correlate with none."""
    deviation = torch.where(varying, covariance.diagonal().clamp(min=0.0).sqrt(), torch.inf)
    correlation = (covariance / torch.outer(deviation, deviation)).fill_diagonal_(0.0)
    return (correlation.abs() > above).any(1)


def copied_units(
    covariance: Float[Tensor, "unit unit"], means: Float[Tensor, "unit"], varying: Bool[Tensor, "unit"]
) -> Bool[Tensor, "unit"]:
    """Returns which varying units have a copy but for scale: min_c E(h_i - c h_j)^2 within rounding of E h_i^2."""
    moments = covariance + torch.outer(means, means)
    sizes = torch.where(varying, moments.diagonal(), torch.inf)
    # The least error over c is E h_i^2 - (E h_i h_j)^2 / E h_j^2: one minus the squared cosine, as a share of E h_i^2.
    same = moments.square() >= (1 - ROUNDING**2) * torch.outer(sizes, sizes)
    return (same & varying[:, None] & varying[None, :]).fill_diagonal_(False).any(1)


def layer_likeness(cross: CrossCovariance, first: CrossCovariance, second: CrossCovariance) -> float | None:
    """Returns linear CKA; None where no unit of a layer varies by more than rounding."""
    for own in (first, second):
        if not bool(varying_units(own.value, own.means[0]).any()):
            return None
    return linear_cka(cross.value, first.value, second.value)


def cka_reading(metric: str, cka: float | None, samples: int, units: int) -> Reading:
    """Returns linear CKA by the rule of samples of spectra: null below a sample a unit, low below ten."""
    if samples < units:
        return Reading(metric, None, "low_sample")
    if cka is None:
        return Reading(metric, None, "degenerate")
    return Reading(metric, cka, "low_sample" if samples < SAMPLES_PER_UNIT * units else "ok")


def compared_layers(subject: Subject) -> list[str]:
    """Returns the ids of the layers with a finite row an observation, narrow enough for a covariance, in call order."""
    return [
        layer
        for layer, each in subject.statistics.items()
        if each.finite and 0 < each.units <= MAXIMUM_FEATURES and has_row_per_observation(subject, layer)
    ]


def left_out(subject: Subject, readings: Sequence[Reading], compared: Collection[str]) -> Iterator[Finding]:
    """Yields the readings, without a number, for the layers that are not compared."""
    for layer, each in subject.statistics.items():
        if layer not in compared:
            status: Status = "not_applicable" if each.finite else "nonfinite"
            for reading in readings:
                weight = None if reading.weight is None else each.units
                yield Finding(replace(reading, value=None, status=status, weight=weight), layer, units=each.units)


class CovarianceObserver(Observer):
    """Keeps covariances of feature rows alone: of each layer with itself, and with the layer before it in its module.

    Attributes:
        before: Layer -> the layer before it.
        own: Covariance by layer.
        cross: Covariance of the layer before with the layer, by the later one.
    """

    def __init__(self, modules: ModuleMap, expected: Mapping[str, str | None] | None) -> None:
        """Starts empty.

        Args:
            modules: Which module a layer belongs to.
            expected: Layer -> the layer before it, of those to compare; None, before that is known: all with a row an
                observation that are narrow enough, as they are called.
        """
        self.before: dict[str, str | None] = {}
        self.own: dict[str, CrossCovariance] = {}
        self.cross: dict[str, CrossCovariance] = {}
        self._modules, self._expected = modules, expected
        self._features: dict[str, list[Tensor]] = {}

    def see_layer(self, layer: Layer, output: Tensor, pre_activation: Tensor | None) -> None:
        """Keeps the feature rows of a batch until its end."""
        narrow = 0 < output.shape[unit_axis(output)] <= MAXIMUM_FEATURES
        if narrow and (self._expected is None or layer.id in self._expected):
            self._features.setdefault(layer.id, []).append(feature_rows(output))

    def see_outputs(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        """Adds the batch's feature rows."""
        joined = {layer: torch.cat(steps) for layer, steps in self._features.items()}
        found = {layer: features for layer, features in joined.items() if len(features) == len(rows)}
        before = chain(found, self._modules) if self._expected is None else self._expected
        for layer, features in found.items():
            self.own.setdefault(layer, CrossCovariance()).update(features, features)
            last = self.before.setdefault(layer, before[layer])
            if last in found:
                self.cross.setdefault(layer, CrossCovariance()).update(found[last], features)
        self._features.clear()

    def has(self, layer: str, before: str | None, samples: int) -> bool:
        """Whether a layer was compared on all samples with the layer before it, or with none where it has none."""
        needed = [self.own] if before is None else [self.own, self.cross]
        whole = all(layer in each and each[layer].samples == samples for each in needed)
        return whole and self.before[layer] == before


def chain(layers: Iterable[str], modules: ModuleMap) -> dict[str, str | None]:
    """Returns layer -> the layer before it in the same module, of layers in call order; None for a module's first."""
    last: dict[str, str] = {}
    before: dict[str, str | None] = {}
    for layer in layers:
        module = modules.module_of(layer)
        before[layer] = last.get(module)
        last[module] = layer
    return before


@register("redundancy", version=2)
@dataclass(frozen=True)
class Redundancy(Probe):
    """Share of units that another unit repeats, share that is constant, and the likeness of consecutive layers.

    Question: how many of a layer's units, and of a module's layers, say nothing that another does not say?
    Formula: constant units, whose deviation is rounding, enter neither of the first two shares:
        - `correlated_fraction` (share of units; `correlation`): units whose absolute correlation with another unit
          of the layer is above `correlation`
        - `duplicate_fraction` (share of units): units with a copy but for scale, `min_c E(h_i - c h_j)^2 <= 1e-10
          E h_i^2`, float32's rounding
        - `constant_fraction` (share of units): units that do not vary, `std <= 1e-5` of the root mean square
        - `cka_previous` (index): linear CKA with the layer before it in the same module, `|cov(X, Y)|^2 / (|cov(X, X)|
          |cov(Y, Y)|)` in Frobenius norms
    Axes: samples by units; a convolution's features are the means over positions. Every share is of all units; modules
        average the shares.
    Units: fractions in [0, 1]; CKA in [0, 1], 1 for layers that differ by scale, shift and rotation alone.
    Cost: the forward pass that probes of a checkpoint share, and units^2 operations a sample and layer; memory holds
        units^2 numbers a layer, whatever the samples.
    Status: `low_sample` below 30 samples (CKA: a value below 10 samples a unit, null below one); null and `degenerate`
        where no unit varies; null and `not_applicable` above 4,096 units, for recurrent layers with several time steps
        an observation, and for CKA of a module's first layer; null and `nonfinite` on NaN or infinity.
    Source: linear CKA, Kornblith et al. 2019, arXiv:1905.00414; the bound of 0.95 is this project's own.
    Do not trust: correlation as proof of waste, rectified features share a positive part; CKA at unequal samples.
    """

    needs = "network"

    correlation: Annotated[float, Limits(least=0, below=1)] = 0.95
    """Absolute correlation above which two units say the same."""

    def observer(self, subject: Subject) -> Observer:
        """Gathers the covariances within layers and with the layer before."""
        expected = chain(compared_layers(subject), subject.modules) if subject.statistics else None
        return CovarianceObserver(subject.modules, expected)

    def measure(self, subject: Subject) -> Findings:
        """Returns the readings of every layer."""
        expected = chain(compared_layers(subject), subject.modules)
        covariances = observed(subject, self, CovarianceObserver)
        if not all(covariances.has(layer, before, subject.count) for layer, before in expected.items()):
            # Only after the pass it is known which layers are finite, are no outputs and run for every observation.
            share_pass(subject, [self])
            covariances = observed(subject, self, CovarianceObserver)
        layers = {layer: each for layer, each in expected.items() if covariances.has(layer, each, subject.count)}
        found = []
        for layer, before in layers.items():
            covariance = covariances.own[layer]
            readings = self.unit_readings(covariance)
            if before is not None:
                cross = covariances.cross[layer]
                cka = layer_likeness(cross, covariances.own[before], covariance)
                readings.append(cka_reading("cka_previous", cka, covariance.samples, max(cross.value.shape)))
            else:
                readings.append(Reading("cka_previous", None, "not_applicable"))
            found += [Finding(reading, layer, units=len(covariance.value)) for reading in readings]
        return Findings([*found, *left_out(subject, [*self._shares(1), Reading("cka_previous", None)], layers)])

    def unit_readings(self, moments: CrossCovariance) -> list[Reading]:
        """Returns the three shares of one layer, from its covariance with itself."""
        covariance, (means, _) = moments.value, moments.means
        varying = varying_units(covariance, means)
        status: Status = "low_sample" if moments.samples < LEAST_SAMPLES else "ok"
        correlated, duplicate, constant = self._shares(len(covariance))
        constant = replace(constant, value=1 - _share(varying), status=status)
        if not bool(varying.any()):
            return [correlated, duplicate, constant]
        above = _share(correlated_units(covariance, varying, self.correlation))
        copied = _share(copied_units(covariance, means, varying))
        return [
            replace(correlated, value=above, status=status),
            replace(duplicate, value=copied, status=status),
            constant,
        ]

    def _shares(self, units: int) -> list[Reading]:
        """Returns the three shares as they are where no unit varies."""
        return [
            Reading("correlated_fraction", None, "degenerate", self.correlation, weight=units),
            Reading("duplicate_fraction", None, "degenerate", weight=units),
            Reading("constant_fraction", None, "degenerate", weight=units),
        ]


def _share(mask: Bool[Tensor, "unit"]) -> float:
    return mask.double().mean().item()
