"""Pruning: whether the units called dormant matter, by silencing them and looking at the outputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probe.capture import Layer, capture, unit_axis
from probe.outputs import Differences, named_outputs
from probe.probes.base import Finding, Findings, Probe, Reading, Work, register
from probe.probes.dormancy import dormancy_scores
from probe.probes.limits import Limits, NotNegatives
from probe.subject import Subject

Units = Mapping[str, Bool[Tensor, "unit"]]
"""Which units of each layer to silence, by layer id."""


def lowest(scores: Float[Tensor, "unit"], tau: float) -> Bool[Tensor, "unit"]:
    """Returns the units that score tau or less."""
    return scores <= tau


def highest(scores: Float[Tensor, "unit"], count: int) -> Bool[Tensor, "unit"]:
    """Returns `count` units of the highest scores; of equals the first."""
    return _marked(scores.argsort(descending=True, stable=True)[:count], len(scores))


def random_units(count: int, of: int, generator: torch.Generator) -> Bool[Tensor, "unit"]:
    """Returns `count` units drawn without replacement from `of`."""
    return _marked(torch.randperm(of, generator=generator)[:count], of)


class Silencer:
    """The consumer for `capture` that sets units to zero within the call, before anything reads them."""

    def __init__(self) -> None:
        """Silences nothing until `units` is set."""
        self.units: Units = {}

    def __call__(self, layer: Layer, output: Tensor, pre_activation: Tensor | None = None) -> None:
        """Sets the layer's units to zero in place: channels of (batch, channel, ...), else the last axis."""
        chosen = self.units.get(layer.id)
        if chosen is not None and output.ndim >= 2:
            output.movedim(unit_axis(output), 0)[chosen] = 0.0


@dataclass(frozen=True)
class Variant:
    """One way of pruning."""

    tau: float
    arm: str
    draw: int
    units: Units


@register("pruning", version=1)
@dataclass(frozen=True)
class Pruning(Probe):
    """What the outputs lose when all dormant units are silenced, beside as many random and as many top units.

    Question: do the units that count as dormant take part in the function at all?
    Formula: in every hidden layer at once, the outputs of the units with a dormancy score `s_i <= tau` are set to zero
        (arm `dormant`). Arms `random` (several draws) and `highest` silence the same number of units in each layer and
        are the negative controls:
        - `pruned_units` (units; `thresholds`): how many were silenced
        - `mean_change`, `max_change` (the output's own unit; `thresholds`): mean and largest `|pruned - whole|`
        - `kl` (nats; `thresholds`): `mean KL(pi_whole || pi_pruned)`, of the actor
        - `action_disagreement` (share of observations; `thresholds`): those whose greedy action changes
    Axes: a unit of a convolution is a channel, silenced at every position; one of a recurrent layer is silenced where
        other layers read it, not in its own recurrence; `module` names the output.
    Units: the share in [0, 1]; the divergence has no upper bound.
    Cost: a forward pass for each threshold, arm and draw (five a threshold by default), and one of the whole network.
    Status: `degenerate` and 0 where no unit was dormant at that tau; `nonfinite` and null where an output or a layer's
        statistics are; `not_applicable` and null for a network without a hidden nonlinearity.
    Source: Sokar et al. 2023, arXiv:2302.12902, Figure 6 (there with the return).
    Do not trust: tau above zero as proof of uselessness: a layer's small units can matter together. With ReLU, tau = 0
        must change nothing on the observations that the scores are from; on others it may.
    """

    thresholds: NotNegatives = (0.0, 0.025, 0.1)
    """Values of tau."""
    draws: Annotated[int, Limits(least=0)] = 3
    """Random choices of units."""
    needs = "network"
    cost = "costly"

    def work(self, subject: Subject) -> Work:
        """Returns a pass for the whole network and one for each way of pruning it."""
        return {"forward": (1 + len(self.thresholds) * (2 + self.draws)) * subject.count}

    def measure(self, subject: Subject) -> Findings:
        """Returns the outputs' changes for each threshold and arm."""
        if not subject.statistics:
            return Findings([Finding(Reading("pruned_units", None, "not_applicable"))])
        if not all(each.finite for each in subject.statistics.values()):
            return Findings([Finding(Reading("pruned_units", None, "nonfinite"))])
        variants = list(self._variants(subject))
        found: list[Finding] = []
        for variant, differences in zip(variants, _differences(subject, variants), strict=True):
            count = sum(int(units.sum()) for units in variant.units.values())
            total = sum(len(units) for units in variant.units.values())
            readings = differences.readings(exact_zero=count == 0)
            placed = [(output, reading) for output, several in readings.items() for reading in several]
            for output, reading in (("", Reading("pruned_units", count)), *placed):
                marked = replace(reading, threshold=variant.tau)
                found.append(Finding(marked, module=output, units=total, arm=variant.arm, draw=variant.draw))
        return Findings(found)

    def _variants(self, subject: Subject) -> Iterator[Variant]:
        scores = {layer: dormancy_scores(each.mean_abs) for layer, each in subject.statistics.items()}
        for tau in self.thresholds:
            dormant = {layer: lowest(each, tau) for layer, each in scores.items()}
            counts = {layer: int(units.sum()) for layer, units in dormant.items()}
            yield Variant(tau, "dormant", -1, dormant)
            yield Variant(tau, "highest", -1, {layer: highest(each, counts[layer]) for layer, each in scores.items()})
            for draw in range(self.draws):
                generator = subject.generator(f"pruning/{tau}", draw)
                units = {layer: random_units(counts[layer], len(each), generator) for layer, each in scores.items()}
                yield Variant(tau, "random", draw, units)


@torch.no_grad()
def _differences(subject: Subject, variants: Sequence[Variant]) -> list[Differences]:
    """Returns how far each variant's outputs lie from the whole network's, in one pass over the observations."""
    network, silencer = subject.network(), Silencer()
    found = [Differences() for _ in variants]
    with capture(network, silencer, activations=subject.activations):
        for batch in subject.batches():
            silencer.units = {}
            whole = named_outputs(network, batch)
            for variant, differences in zip(variants, found, strict=True):
                silencer.units = variant.units
                differences.update(whole, named_outputs(network, batch))
    return found


def _marked(chosen: Tensor, units: int) -> Bool[Tensor, "unit"]:
    return torch.zeros(units, dtype=torch.bool).index_fill(0, chosen, True)
