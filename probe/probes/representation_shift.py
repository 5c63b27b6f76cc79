"""Representation shift: how like a layer's features are at two checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from probe.pairs import PairObserver, pair_observed
from probe.probes.base import Finding, Findings, Probe, Reading, register
from probe.probes.redundancy import cka_reading, compared_layers, layer_likeness, left_out
from probe.statistics.covariance import CrossCovariance
from probe.subject import Subject


class LikenessObserver(PairObserver):
    """Keeps covariances of feature rows alone: between the two networks, and of each with itself.

    Attributes:
        moments: Cross-covariance, that of the earlier and that of the later network, by layer.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        """Starts empty, for layers that both networks have."""
        self.layers = frozenset(layers)
        self.moments = {layer: (CrossCovariance(), CrossCovariance(), CrossCovariance()) for layer in layers}

    def see_layers(self, earlier: Mapping[str, Tensor], later: Mapping[str, Tensor]) -> None:
        """Adds a batch of feature rows."""
        for layer, (cross, own_earlier, own_later) in self.moments.items():
            cross.update(earlier[layer], later[layer])
            own_earlier.update(earlier[layer], earlier[layer])
            own_later.update(later[layer], later[layer])


@register("representation-shift", version=1)
@dataclass(frozen=True)
class RepresentationShift(Probe):
    """Linear CKA of each layer's features at two checkpoints, on the same observations.

    Question: does a layer still represent the observations as it did before, up to rotation and scale?
    Formula: X and Y are the layer's features at the two checkpoints:
        - `cka` (index): `|cov(X, Y)|^2 / (|cov(X, X)| |cov(Y, Y)|)` in Frobenius norms
    Axes: samples by units; a convolution's features are the means over positions. Units need no identity.
    Units: in [0, 1]; 1 is no change but scale, shift and rotation.
    Cost: the forward pass of both checkpoints that probes of a pair share, and three times units^2 operations a sample
        and layer.
    Status: a value and `low_sample` below 10 samples a unit, null below one; null and `degenerate` where the layer does
        not vary at one of the two; null and `not_applicable` where only one of them has the layer, above 4,096 units,
        and for recurrent layers with several time steps an observation; null and `nonfinite` on NaN or infinity.
    Source: Kornblith et al. 2019, arXiv:1905.00414.
    Do not trust: small differences, CKA follows the directions of large variance; values at unequal samples.
    """

    needs = "pair"
    cost = "costly"

    def pair_observer(self, earlier: Subject, later: Subject) -> PairObserver:
        """Gathers the covariances of every layer that both checkpoints have."""
        known = set(compared_layers(earlier))
        return LikenessObserver([layer for layer in compared_layers(later) if layer in known])

    def measure_pair(self, earlier: Subject, later: Subject) -> Findings:
        """Returns the likeness of every layer that both checkpoints have."""
        moments = pair_observed(earlier, later, self, LikenessObserver).moments
        found = []
        for layer, (cross, own_first, own_second) in moments.items():
            cka = layer_likeness(cross, own_first, own_second)
            reading = cka_reading("cka", cka, cross.samples, max(cross.value.shape))
            found.append(Finding(reading, layer, units=cross.value.shape[1]))
        return Findings([*found, *_uncompared(earlier, later)])


def _uncompared(earlier: Subject, later: Subject) -> list[Finding]:
    # A layer that one of the two cannot give has that one's reason.
    absent = [Reading("cka", None)]
    found = {finding.layer: finding for finding in left_out(later, absent, compared_layers(later))}
    for finding in left_out(earlier, absent, compared_layers(earlier)):
        if finding.layer in later.statistics:
            found.setdefault(finding.layer, finding)
    for layer, statistics in later.statistics.items():
        if layer not in earlier.statistics:
            found.setdefault(layer, Finding(Reading("cka", None, "not_applicable"), layer, units=statistics.units))
    return list(found.values())
