"""Pruning: whether the units called dormant matter, by silencing them and looking at the outputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probe.capture import Layer, capture, unit_axis
from probe.folding import foldable_layers
from probe.outputs import Differences, named_outputs
from probe.probes.base import Finding, Findings, Probe, Reading, Work, register
from probe.probes.dormancy import dormancy_scores
from probe.probes.limits import Limits, NotNegatives
from probe.subject import Subject

Units = Mapping[str, Bool[Tensor, "unit"]]
"""Which units of each layer to silence, by layer id."""
Constants = Mapping[str, Float[Tensor, "unit"]]
"""What to set each unit of a layer to, by layer id."""
_FOLDED = "folded_"


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
    """The consumer for `capture` that sets units to zero, or to constants, before anything reads them."""

    def __init__(self) -> None:
        """Silences nothing until `units` is set."""
        self.units: Units = {}
        self.constants: Constants = {}
        """Of layers that are not in it: 0."""

    def __call__(self, layer: Layer, output: Tensor, pre_activation: Tensor | None = None) -> None:
        """Sets the layer's units in place: channels of (batch, channel, ...), else the last axis."""
        chosen = self.units.get(layer.id)
        if chosen is None or output.ndim < 2:
            return
        by_unit = output.movedim(unit_axis(output), 0)
        if layer.id in self.constants:
            constants = self.constants[layer.id][chosen].to(output)
            by_unit[chosen] = constants.view(-1, *[1] * (output.ndim - 1)).expand_as(by_unit[chosen])
        else:
            by_unit[chosen] = 0.0


@dataclass(frozen=True)
class Variant:
    """One way of pruning."""

    tau: float
    arm: str
    draw: int
    units: Units

    def findings(self, readings: Mapping[str, Sequence[Reading]]) -> Iterator[Finding]:
        """Yields readings by output, with what was pruned."""
        total = sum(len(units) for units in self.units.values())
        for output, several in readings.items():
            for reading in several:
                marked = replace(reading, threshold=self.tau)
                yield Finding(marked, module=output, units=total, arm=self.arm, draw=self.draw)

    @property
    def count(self) -> int:
        """Units that are pruned."""
        return sum(int(units.sum()) for units in self.units.values())


@register("pruning", version=2)
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
        - `folded_mean_change`, `folded_max_change` (the output's own unit; `thresholds`): likewise, the units set to
          their means over observations and positions: what their weights times these means do in the next biases
        - `folded_kl` (nats; `thresholds`): likewise, of the actor
        - `folded_action_disagreement` (share of observations; `thresholds`): likewise
    Axes: a unit of a convolution is a channel, silenced at every position; one of a recurrent layer is silenced where
        other layers read it, not in its own recurrence; `module` names the output.
    Units: the share in [0, 1]; the divergence has no upper bound.
    Cost: two forward passes for each threshold, arm and draw (ten a threshold by default), and one of the whole
        network; fewer where no unit is dormant, or all that are have the mean 0.
    Status: `degenerate` and 0 where no unit was dormant at that tau; `nonfinite` and null where an output or a layer's
        statistics are; `not_applicable` and null for a network without a hidden nonlinearity, and for the folded ones
        where some layer is not followed by a linear layer or convolution with a bias.
    Source: Sokar et al. 2023, arXiv:2302.12902, Figure 6 (there with the return); Dohare et al. 2024, Nature 632,
        768-774 (means that go to the next biases).
    Do not trust: tau above zero as proof of uselessness: a layer's small units can matter together. With ReLU, tau = 0
        must change nothing on the observations that the scores are from; on others it may. The return after pruning is
        not measured, which would take an environment: small changes can add up over an episode, or not matter at all.
        A unit that folds away carries a constant and no information, whatever zeroing it changes; at the padding of a
        convolution a bias cannot do quite what the constant does.
    """

    thresholds: NotNegatives = (0.0, 0.025, 0.1)
    """Values of tau."""
    draws: Annotated[int, Limits(least=0)] = 3
    """Random choices of units."""
    needs = "network"
    cost = "costly"

    def work(self, subject: Subject) -> Work:
        """Returns a pass for the whole network and two for each way of pruning it."""
        return {"forward": (1 + 2 * len(self.thresholds) * (2 + self.draws)) * subject.count}

    def measure(self, subject: Subject) -> Findings:
        """Returns the outputs' changes for each threshold and arm."""
        if not subject.statistics:
            return Findings([Finding(Reading("pruned_units", None, "not_applicable"))])
        if not all(each.finite for each in subject.statistics.values()):
            return Findings([Finding(Reading("pruned_units", None, "nonfinite"))])
        means = {layer: each.mean for layer, each in subject.statistics.items()}
        folds = means.keys() <= foldable_layers(subject.network(), next(subject.batches(1, 1)), subject.activations)
        variants = list(self._variants(subject))
        found = [] if folds else [Finding(Reading(f"{_FOLDED}mean_change", None, "not_applicable"))]
        zeroed, folded = _differences(subject, variants, means if folds else None)
        for variant, differences in zip(variants, zeroed, strict=True):
            found += variant.findings({"": [Reading("pruned_units", variant.count)]})
            found += variant.findings(differences.readings(exact_zero=variant.count == 0))
        for variant, differences in zip(variants, folded, strict=folds):
            readings = differences.readings(exact_zero=variant.count == 0)
            named = {k: [replace(each, metric=_FOLDED + each.metric) for each in v] for k, v in readings.items()}
            found += variant.findings(named)
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
def _differences(
    subject: Subject, variants: Sequence[Variant], means: Constants | None
) -> tuple[list[Differences], list[Differences]]:
    """Returns how far each variant's outputs lie from the whole network's, in one pass over the observations.

    Returns:
        With the units at 0, and with them at their means; the latter empty without means.
    """
    network, silencer = subject.network(), Silencer()
    zeroed, folded = ([Differences() for _ in each] for each in (variants, variants if means is not None else ()))
    with capture(network, silencer, activations=subject.activations):
        for batch in subject.batches():
            silencer.units, silencer.constants = {}, {}
            whole = named_outputs(network, batch)
            for index, variant in enumerate(variants):
                silencer.units, silencer.constants = variant.units, {}
                outputs = named_outputs(network, batch) if variant.count else whole
                zeroed[index].update(whole, outputs)
                if means is None:
                    continue
                if any(bool(means[layer][units].any()) for layer, units in variant.units.items()):
                    silencer.constants = means
                    outputs = named_outputs(network, batch)
                folded[index].update(whole, outputs)
    return zeroed, folded


def _marked(chosen: Tensor, units: int) -> Bool[Tensor, "unit"]:
    return torch.zeros(units, dtype=torch.bool).index_fill(0, chosen, True)
