"""The pass over the observations that the probes of a checkpoint share: one forward pass, one gradient a loss.

A probe says what it gathers on the way (`Probe.observer`) and whether it reads gradients (`needs = "gradient"`). The
engine makes the pass for all probes at once (`share_pass`); a probe that is measured alone makes its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from probe.capture import Layer, capture
from probe.gradients import GradientSums, LossGradient
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

    observers: "dict[Probe, Observer]"
    gradients: dict[str, LossGradient] | None
    """By loss; None where no probe asked."""


Kind = TypeVar("Kind", bound=Observer)
_PASSES: "WeakKeyDictionary[Subject, SharedPass]" = WeakKeyDictionary()


def share_pass(subject: Subject, probes: "Sequence[Probe]") -> None:
    """Makes the pass for these probes; `observed` and `offline_gradients` of this subject read it from now on."""
    observers = {probe: made for probe in probes if (made := probe.observer(subject)) is not None}
    gradients = any(probe.needs == "gradient" for probe in probes)
    if observers or gradients:
        _PASSES[subject] = _pass(subject, observers, gradients)


def observed(subject: Subject, probe: "Probe", kind: type[Kind]) -> Kind:
    """Returns a probe's observer after the pass.

    Raises:
        TypeError: the probe's observer is of another kind.
    """
    if subject not in _PASSES or probe not in _PASSES[subject].observers:
        share_pass(subject, [probe])
    found = _PASSES[subject].observers[probe]
    if not isinstance(found, kind):
        raise TypeError(f"Probe {probe.name} observes with a {type(found).__name__}, a {kind.__name__} was expected.")
    return found


def offline_gradients(subject: Subject) -> dict[str, LossGradient]:
    """Returns the mean gradient of each loss that the network and the set allow, by the loss's name."""
    if subject not in _PASSES:
        _PASSES[subject] = _pass(subject, {}, gradients=True)
    shared = _PASSES[subject]
    if shared.gradients is None:
        alone = _pass(subject, {}, gradients=True)
        shared = _PASSES[subject] = SharedPass(shared.observers, alone.gradients)
    return shared.gradients or {}


def _pass(subject: Subject, observers: "dict[Probe, Observer]", gradients: bool) -> SharedPass:
    network = subject.network().eval()
    sums = GradientSums(subject, network) if gradients and subject.has_returns else None
    watching = list(observers.values())
    start = 0
    with _watched(subject, network, watching):
        for batch in subject.batches():
            for rows, learning in _parts(start, len(batch), sums, bool(watching)):
                with torch.set_grad_enabled(learning):
                    outputs = network(batch[rows - start])
                if sums is not None and learning:
                    sums.add(outputs, rows)
                with torch.no_grad():
                    for observer in watching:
                        observer.see_outputs(outputs, rows)
            start += len(batch)
    means = {} if sums is None else sums.means()
    return SharedPass(observers, means if gradients else None)


def _parts(start: int, count: int, sums: GradientSums | None, watched: bool) -> Iterator[tuple[Tensor, bool]]:
    """Yields the rows of a batch that have gradients, and those that only an observer wants, each if there are any."""
    rows = torch.arange(start, start + count)
    known = torch.zeros(count, dtype=torch.bool) if sums is None else sums.known[rows]
    for chosen, learning in ((rows[known], True), (rows[~known], False)):
        if len(chosen) and (learning or watched):
            yield chosen, learning


def _watched(subject: Subject, network: nn.Module, observers: Sequence[Observer]) -> AbstractContextManager[Any]:
    watching = [observer for observer in observers if observer.reads_layers]
    if not watching:
        return nullcontext()

    def consume(layer: Layer, output: Tensor, before: Tensor | None) -> None:
        if layer.id not in subject.statistics:  # the squashing of an output
            return
        with torch.no_grad():
            for observer in watching:
                observer.see_layer(layer, output.detach(), None if before is None else before.detach())

    before = any(observer.reads_pre_activations for observer in watching)
    return capture(network, consume, before, subject.activations)
