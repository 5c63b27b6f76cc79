"""The pass over the observations that the probes of two checkpoints share: each network runs once for all of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from probe.capture import Layer, capture
from probe.features import feature_rows
from probe.outputs import by_name
from probe.subject import Subject


class PairObserver:
    """What one probe gathers of two networks; sees batches of any size, in order, and does nothing by default."""

    layers: frozenset[str] = frozenset()
    """Ids of the layers whose feature rows it reads; both networks must have them."""
    reads_outputs: bool = False
    """Whether it reads what the networks return, both on the later one's observations."""

    def see_layers(self, earlier: Mapping[str, Tensor], later: Mapping[str, Tensor]) -> None:
        """Adds a batch's feature rows by layer, each network's own, of its layers and maybe of others."""

    def see_outputs(self, earlier: dict[str, Tensor], later: dict[str, Tensor]) -> None:
        """Adds a batch's outputs by name."""


@runtime_checkable
class ReadsPair(Protocol):
    """A probe that reads the shared pass of a pair."""

    def pair_observer(self, earlier: Subject, later: Subject) -> PairObserver:
        """Returns what gathers the probe's share of it."""


Kind = TypeVar("Kind", bound=PairObserver)
_PASSES: "WeakKeyDictionary[Subject, tuple[Subject, dict[ReadsPair, PairObserver]]]" = WeakKeyDictionary()
"""By the later subject: the earlier one, and what the last pass of the two left."""


def share_pair(earlier: Subject, later: Subject, probes: Sequence[ReadsPair]) -> None:
    """Makes the pass for these probes; `pair_observed` of these subjects reads it from now on."""
    observers = {probe: probe.pair_observer(earlier, later) for probe in probes}
    watch_pair(earlier, later, list(observers.values()))
    _PASSES[later] = earlier, observers


def pair_observed(earlier: Subject, later: Subject, probe: ReadsPair, kind: type[Kind]) -> Kind:
    """Returns a probe's observer after the pass.

    Raises:
        TypeError: the probe's observer is of another kind.
    """
    known = _PASSES.get(later)
    if known is None or known[0] is not earlier or probe not in known[1]:
        share_pair(earlier, later, [probe])
    found = _PASSES[later][1][probe]
    if not isinstance(found, kind):
        raise TypeError(f"A {type(found).__name__} observes the pair, a {kind.__name__} was expected.")
    return found


@torch.no_grad()
def watch_pair(earlier: Subject, later: Subject, observers: Sequence[PairObserver]) -> None:
    """Runs both networks over the observations, the earlier a second time where the two prepare them differently."""
    layers = frozenset[str]().union(*(each.layers for each in observers))
    of_outputs = [each for each in observers if each.reads_outputs]
    first, second = earlier.network(), later.network()
    # Features are of a network on its own input; outputs are compared on the same.
    batches = zip(earlier.batches(), later.batches(), strict=True) if layers else ((b, b) for b in later.batches())
    for own, batch in batches:
        same = _same(own, batch)
        features, before = _run(first, own, layers, earlier)
        later_features, after = _run(second, batch, layers, later)
        for each in observers:
            each.see_layers(features, later_features)
        if of_outputs:
            before = before if same else _run(first, batch, frozenset(), earlier)[1]
            names = by_name(before), by_name(after)
            for each in of_outputs:
                each.see_outputs(*names)


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _run(network: nn.Module, batch: Tensor, layers: frozenset[str], subject: Subject) -> tuple[dict[str, Tensor], Any]:
    """Returns the feature rows of layers, and what the network returned.

    It is watched in any case: stacked LSTMs are computed otherwise then, and so no number hangs on who else reads.
    """
    parts: dict[str, list[Tensor]] = {}

    def keep(layer: Layer, output: Tensor, _: Tensor | None) -> None:
        if layer.id in layers and output.ndim >= 2:
            parts.setdefault(layer.id, []).append(feature_rows(output))

    with capture(network, keep, activations=subject.activations):
        outputs = network(batch)
    return {layer: torch.cat(steps) for layer, steps in parts.items()}, outputs
