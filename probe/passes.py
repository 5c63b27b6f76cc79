"""The pass over the observations that the probes of a checkpoint share: one forward, and one backward where one asks.

A probe says what it gathers on the way (`Probe.observer`) and of which losses it reads gradients (`Probe.losses`). The
engine gathers it in the pass that measures the statistics (`make_pass`, `adopt`), or, where an earlier analysis has
measured these, in one pass for all probes at once (`share_pass`); a probe that is measured alone makes its own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from probe.capture import Layer, capture
from probe.gradients import JOINT, GradientSums, OfflineGradients
from probe.statistics.collector import StatisticsCollector
from probe.subject import Subject

if TYPE_CHECKING:
    from probe.probes.base import Probe


class Observer:
    """What one probe gathers in the pass; sees batches of any size, in any order, and does nothing by default."""

    reads_layers: ClassVar[bool] = True
    """Whether `see_layer` is called."""
    reads_pre_activations: ClassVar[bool] = False
    """Whether `see_layer` gets pre-activations too."""

    def see_layer(self, layer: Layer, output: Tensor, pre_activation: Tensor | None) -> None:
        """Adds a batch of one layer; it must not keep the tensors, which may change later."""

    def see_outputs(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        """Adds what the network returned for some rows of those that are used, after all layers."""


@dataclass(frozen=True)
class SharedPass:
    """What one pass left."""

    observers: "Mapping[Probe, Observer]"
    gradients: dict[str, OfflineGradients]
    """By the choice of losses that was asked for."""


Kind = TypeVar("Kind", bound=Observer)
_PASSES: "WeakKeyDictionary[Subject, SharedPass]" = WeakKeyDictionary()


def observers_of(subject: Subject, probes: "Sequence[Probe]") -> "dict[Probe, Observer]":
    """Returns the observers of those probes that have one; the subject may be without statistics yet."""
    return {probe: made for probe in probes if (made := probe.observer(subject)) is not None}


def losses_of(probes: "Sequence[Probe]") -> set[str]:
    """Returns the choices of losses whose gradients the probes read."""
    return {probe.losses for probe in probes if probe.needs == "gradient"}


def share_pass(subject: Subject, probes: "Sequence[Probe]") -> None:
    """Makes the pass for these probes; `observed` and `offline_gradients` of this subject read it from now on."""
    observers, losses = observers_of(subject, probes), losses_of(probes)
    if observers or losses:
        adopt(subject, make_pass(subject, subject.network().eval(), observers, losses)[0])


def adopt(subject: Subject, shared: SharedPass) -> None:
    """Makes a pass the subject's; what an earlier one left of other probes stays."""
    earlier = _PASSES.get(subject, SharedPass({}, {}))
    _PASSES[subject] = SharedPass({**earlier.observers, **shared.observers}, {**earlier.gradients, **shared.gradients})


def observed(subject: Subject, probe: "Probe", kind: type[Kind]) -> Kind:
    """Returns a probe's observer after the pass. It may have seen layers that `subject.statistics` lacks.

    Those are layers that turned out to be the squashing of an output.

    Raises:
        TypeError: the probe's observer is of another kind.
    """
    if subject not in _PASSES or probe not in _PASSES[subject].observers:
        share_pass(subject, [probe])
    found = _PASSES[subject].observers[probe]
    if not isinstance(found, kind):
        raise TypeError(f"Probe {probe.name} observes with a {type(found).__name__}, a {kind.__name__} was expected.")
    return found


def offline_gradients(subject: Subject, losses: str = JOINT) -> OfflineGradients:
    """Returns the mean gradients of the losses that the network and the set allow, `joint` or of `each`."""
    if subject not in _PASSES or losses not in _PASSES[subject].gradients:
        adopt(subject, make_pass(subject, subject.network().eval(), {}, {losses})[0])
    return _PASSES[subject].gradients[losses]


def make_pass(
    subject: Subject,
    network: nn.Module,
    observers: "Mapping[Probe, Observer]",
    losses: Collection[str],
    collector: StatisticsCollector | None = None,
) -> tuple[SharedPass, Collection[str]]:
    """Runs a network over a subject's observations, each batch once where all of its rows have a return or none has.

    Of others the rows that have one go through the network again, for the gradients alone: so no layer's numbers hang
    on which probes are asked for, but for the rounding of stacked LSTMs, which PyTorch computes otherwise where
    gradients are wanted.

    Args:
        subject: The observations, and which layers the observers see: all, where there is a collector.
        network: The subject's own, in eval mode.
        observers: What watches, by probe.
        losses: The choices of losses whose gradients to sum; there are none where the set has no returns.
        collector: Takes the statistics.

    Returns:
        What the pass left, and the layers that were only the squashing of an output.
    """
    sums = GradientSums(subject, network, losses) if losses and subject.has_returns else None
    watch = _Watch(subject, list(observers.values()), collector)
    start = 0
    with capture(network, watch, watch.reads_pre_activations, subject.activations) as found:
        for batch in subject.batches():
            rows = torch.arange(start, start + len(batch))
            known = torch.zeros(len(rows), dtype=torch.bool) if sums is None else sums.known[rows]
            learning = bool(known.all())
            if learning or watch.needed:
                watch.see_outputs(_run(network, batch, rows, sums if learning else None), rows)
            if not learning and bool(known.any()):
                watch.looks = False
                _run(network, batch[known], rows[known], sums)
                watch.looks = True
            start += len(batch)
    gradients = {each: OfflineGradients(each, {}) for each in losses} if sums is None else sums.means()
    return SharedPass(observers, gradients), found.layers


def _run(network: nn.Module, batch: Tensor, rows: Int[Tensor, "batch"], sums: GradientSums | None) -> Any:
    with torch.set_grad_enabled(sums is not None):
        outputs = network(batch)
        if sums is not None:
            sums.add(outputs, rows)
    return outputs


class _Watch:
    """Hands every layer on to the statistics and to the observers that read layers."""

    def __init__(self, subject: Subject, observers: Sequence[Observer], collector: StatisticsCollector | None) -> None:
        self.needed = collector is not None or bool(observers)
        self.reads_pre_activations = any(each.reads_pre_activations for each in observers)
        self.looks = True
        self._observers, self._collector = observers, collector
        self._of_layers = [each for each in observers if each.reads_layers]
        self._layers = subject.statistics if collector is None else None

    @torch.no_grad()
    def __call__(self, layer: Layer, output: Tensor, before: Tensor | None) -> None:
        # What has no batch axis is no layer; nor is, of those known, what only squashed an output.
        if not self.looks or output.ndim < 2 or (self._layers is not None and layer.id not in self._layers):
            return
        output, before = output.detach(), None if before is None else before.detach()
        if self._collector is not None:
            self._collector(layer, output)
        for observer in self._of_layers:
            observer.see_layer(layer, output, before)

    @torch.no_grad()
    def see_outputs(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        for observer in self._observers:
            observer.see_outputs(outputs, rows)
