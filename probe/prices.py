"""What probes beyond the forward pass will cost: the work that each declares, and a short timing of this network."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from probe.examination import ProbeItem, measurement_of, pieces, subject_of
from probe.measurement import WorkItem, unmeasured
from probe.outputs import named_outputs, stacked
from probe.probes.base import Work
from probe.regression import PRECISIONS, take_step
from probe.subject import Subject
from probe.threads import side_by_side

_BATCH, _STEP_BATCH = 64, 256
_ROUNDS = 3
_TALL, _WIDE = 2048, 128
"""Shape of the matrix that is decomposed for the timing."""


@dataclass(frozen=True)
class Price:
    """Seconds that each item is expected to take, on the threads that PyTorch has now."""

    seconds: Mapping[ProbeItem, float]
    pass_seconds: float
    """Of one observation's forward pass: the unit of progress."""

    @property
    def total(self) -> float:
        """Seconds of all items."""
        return sum(self.seconds.values())

    @property
    def passes(self) -> float:
        """The total in forward passes of one observation."""
        return self.total / self.pass_seconds

    def passes_of(self, item: ProbeItem) -> float:
        """Returns one item's price in forward passes of one observation; 0 for an item that was not priced."""
        return self.seconds.get(item, 0.0) / self.pass_seconds

    def lines(self, what: str = "Probes that cost more than the forward pass") -> Iterator[str]:
        """Yields what a person reads: the total, and the dearest first, probes that share a pass in one line."""
        yield f"{what}: about {_time(self.total)}, estimated on this network."
        groups: dict[tuple[bool, tuple[str, ...]], list[float]] = {}
        for piece in pieces(list(self.seconds)):
            names = tuple(each.probe.name for each in piece)
            groups.setdefault((bool(piece[0].control), names), []).append(sum(self.seconds[each] for each in piece))
        for (control, names), prices in sorted(groups.items(), key=lambda group: -sum(group[1])):
            which = f"{names[0]}, fresh control" if control else ", ".join(names)
            shared = " in one pass" if len(names) > 1 else ""
            times = "" if len(prices) == 1 else f" ({len(prices)} x {_time(median(prices))})"
            yield f"  {which}{shared}: {_time(sum(prices))}{times}"


def estimate(items: Sequence[ProbeItem]) -> Price:
    """Times the network of each series for a second or so, and prices the items by what their probes declare.

    Args:
        items: After the forward pass, or, for those that share it, before.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise ValueError("There is nothing to price.")
    clocks: dict[Hashable, Clock] = {}
    works: dict[Hashable, Work] = {}
    seconds: dict[ProbeItem, float] = {}
    for piece in pieces(items):
        series = (piece[0].checkpoint.path.parent, piece[0].item.data_digest)
        if series not in clocks:
            clocks[series] = Clock(_subject(piece[0].item))
        clock = clocks[series]
        for each in piece:
            works.setdefault((series, each.probe), each.probe.work(clock.subject))
        work = joined([works[series, each.probe] for each in piece])
        price = sum(amount * clock.seconds(unit) for unit, amount in work.items())
        if piece[0].probe.needs == "sets":  # one set alone is compared with nothing
            price *= len(piece[0].others) + 1 if piece[0].others else 0
        price += clock.seconds("load")
        seconds |= {each: price / len(piece) for each in piece}
    return Price(seconds, next(iter(clocks.values())).seconds("forward"))


def _subject(item: WorkItem) -> Subject:
    """What shares the forward pass is priced before it, and declares its work without statistics."""
    return subject_of(item) if measurement_of(item) is not None else unmeasured(item)


def joined(works: Sequence[Work]) -> Work:
    """Returns the work of probes that share a pass: of each unit, the most that one of them needs."""
    return {unit: max(work.get(unit, 0) for work in works) for unit in dict.fromkeys(u for work in works for u in work)}


class Clock:
    """Seconds that each unit of work takes on one network and set, measured when first asked for.

    Units: `load`, one network read and built; `forward`, one observation's forward pass; `backward`, one loss's
    backward pass of one observation after it, in batches of 64; `single`, both of one observation alone; `step in
    float32` and `step in bfloat16`, one observation of a training step; `algebra`, one value times the squared smaller
    side of a decomposition in float64.
    """

    def __init__(self, subject: Subject) -> None:
        """Takes the first observations; nothing is timed yet."""
        self.subject = subject
        self._network = subject.network()
        self._batch = next(subject.batches(_BATCH, _BATCH))
        self._known: dict[str, float] = {}

    def seconds(self, unit: str) -> float:
        """Returns the seconds of one unit."""
        if unit not in self._known:
            self._known[unit] = self._measured(unit)
        return self._known[unit]

    def _measured(self, unit: str) -> float:
        if unit == "load":
            return _timed(self.subject.network)
        if unit == "forward":
            return _timed(torch.no_grad()(lambda: self._network(self._batch))) / len(self._batch)
        if unit == "backward":
            both = _timed(lambda: _differentiate(self._network, self._batch)) / len(self._batch)
            return max(0.0, both - self.seconds("forward"))
        if unit == "single":
            return _timed(lambda: _differentiate(self._network, self._batch[:1]))
        if unit == "algebra":
            matrix = torch.randn(_TALL, _WIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            return _timed(lambda: torch.linalg.svdvals(matrix)) / (_TALL * _WIDE**2)
        return self._step(unit.removeprefix("step in "))

    def _step(self, precision: str) -> float:
        assert precision in PRECISIONS, precision
        observations = torch.cat([self._batch] * (_STEP_BATCH // len(self._batch)))
        networks = [self.subject.network() for _ in range(torch.get_num_threads())]
        with torch.no_grad():
            targets = torch.zeros_like(stacked(named_outputs(self._network, observations)))

        def steps() -> None:
            list(side_by_side(lambda each, _: _train(each, observations, targets, precision), networks))

        return _timed(steps) / (len(observations) * len(networks))


def _timed(function: Callable[[], object]) -> float:
    """Returns the seconds of a call: the median of a few, after one that does not count."""
    function()
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _differentiate(network: nn.Module, batch: Tensor) -> None:
    loss = stacked(named_outputs(network, batch)).square().sum()
    torch.autograd.grad(loss, [each for each in network.parameters() if each.requires_grad], allow_unused=True)


def _train(network: nn.Module, observations: Tensor, targets: Tensor, precision: str) -> None:
    optimizer = torch.optim.Adam([each for each in network.parameters() if each.requires_grad], 1e-3)
    take_step(network, observations, targets, optimizer, precision)


def _time(seconds: float) -> str:
    if seconds < 1:
        return "under 1 s"
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
