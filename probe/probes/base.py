"""The contract of a probe, and the registry that finds every probe of this folder."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from probe.errors import UnknownNameError
from probe.probes.limits import check_parameters
from probe.statistics.layer import LayerStatistics

if TYPE_CHECKING:
    from probe.passes import Observer
    from probe.subject import Point, Subject

Status = Literal["ok", "low_sample", "degenerate", "nonfinite", "not_applicable"]
Need = Literal["activation", "gradient", "weights", "network", "pair", "series", "sets"]


@dataclass(frozen=True)
class Reading:
    """One number that a probe read off one layer; a value of None comes with a status that says why."""

    metric: str
    value: int | float | None
    status: Status = "ok"
    threshold: int | float | None = None
    weight: int | float | None = field(default=None, compare=False)
    """Units (or elements) behind a fraction, by which modules average (`micro`); None: no such average is made."""


@dataclass(frozen=True)
class Finding:
    """A reading with its place. Those of layers that have a weight are averaged over modules and the whole network."""

    reading: Reading
    layer: str = ""
    """Layer id, or path of a weight layer; empty for a module or the whole network."""
    module: str = ""
    """Empty: the module that the layer belongs to, or `all` without a layer."""
    units: int = 0
    arm: str = ""
    """What was compared, for fitting and injection: control, moment-reset, injected, head-reset or fresh."""
    draw: int = -1
    """The pair's seed, else -1."""
    samples: int = -1
    """Observations behind the number, 0 where weights alone are; -1: all that the analysis uses."""
    data: str = ""
    """Digest of the observation set, for probes that need several; empty: the last of them."""


def with_samples(findings: Iterable[Finding], samples: int) -> list[Finding]:
    """Returns the findings with the number of observations behind them."""
    return [replace(each, samples=samples) for each in findings]


Arrays = dict[str, dict[str, NDArray[Any]]]
"""Layer id -> array name -> array."""


@dataclass(frozen=True)
class Findings:
    """What a probe found at one checkpoint, or between two."""

    readings: Sequence[Finding]
    arrays: Arrays = field(default_factory=dict)
    """Worth keeping; names must not be those of the statistics."""


Work = Mapping[str, int]
"""What a probe does at one checkpoint, by the units of `probe.prices.Clock`, such as observations that go forward."""


class Probe:
    """What is measured. Subclasses are frozen dataclasses whose fields are the probe's parameters.

    A probe with `needs = "activation"` is a formula over a layer's statistics (`compute`, `compare`, `arrays`). One
    that needs gradients, weights or the network gets a `Subject` and has `measure`; one that needs a pair has
    `measure_pair`; one that needs the series has `measure_series`; one that needs several observation sets has
    `measure_sets`.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    needs: ClassVar[Need] = "activation"
    cost: ClassVar[Literal["default", "costly"]] = "default"
    reads: ClassVar[frozenset[str]] = frozenset()
    losses: str = "joint"
    """Whose gradients a probe with `needs = "gradient"` reads: `joint` or `each` (`probe.gradients`)."""

    def __post_init__(self) -> None:
        """Refuses numbers outside what the parameters' types declare (`probe.probes.limits`)."""
        check_parameters(self.name, self)

    def compute(self, layer: str, statistics: LayerStatistics) -> list[Reading]:
        """Returns the readings of one layer; the statistics are finite, the engine has checked."""
        raise NotImplementedError

    def compare(self, layer: str, earlier: LayerStatistics, later: LayerStatistics) -> list[Reading]:
        """Returns the readings that compare one layer at two checkpoints; none by default."""
        return []

    def arrays(self, layer: str, statistics: LayerStatistics) -> dict[str, NDArray[Any]]:
        """Returns arrays worth keeping beside the statistics, by name; none by default."""
        return {}

    def measure(self, subject: "Subject") -> Findings:
        """Returns what one checkpoint shows on one observation set."""
        raise NotImplementedError

    def observer(self, subject: "Subject") -> "Observer | None":
        """Returns what gathers this probe's share of the pass that a checkpoint's probes share; None: nothing."""
        return None

    @property
    def shares_pass(self) -> bool:
        """Whether the probe reads that pass."""
        return self.needs == "gradient" or type(self).observer is not Probe.observer

    def controls(self, subjects: "Sequence[Subject]") -> "Sequence[tuple[Probe, Subject]]":
        """Returns whose controls the probe reads, on which sets; none by default.

        A control is what checkpoints are compared with and what no checkpoint's own parameters enter.

        Args:
            subjects: A checkpoint on the set, or on each set for probes that need several; without statistics.
        """
        return []

    def control_key(self, subject: "Subject") -> str | None:
        """Returns what tells the probe's own control at one checkpoint from that at others; None: it has none there."""
        return None

    def measure_control(self, subject: "Subject") -> Findings:
        """Returns the probe's own control."""
        raise NotImplementedError

    def work(self, subject: "Subject") -> Work:
        """Returns what the probe has the network do on a set, its control likewise; by default a pass over all.

        It is for prices: half or double is near enough.
        """
        passes = 2 if self.needs == "pair" else 1
        backward = 0 if self.needs != "gradient" else 2 if self.losses == "each" else 1
        return {"forward": passes * subject.count, "backward": backward * subject.count}

    def measure_pair(self, earlier: "Subject", later: "Subject") -> Findings:
        """Returns what two checkpoints of a series show on one observation set."""
        raise NotImplementedError

    def measure_series(self, points: Sequence["Point"]) -> Sequence[Findings]:
        """Returns what each checkpoint shows in the light of the whole series, one a point, in step order."""
        raise NotImplementedError

    def measure_sets(self, subjects: Sequence["Subject"]) -> Findings:
        """Returns what one checkpoint shows on several observation sets, in the order of their task indices."""
        raise NotImplementedError

    @classmethod
    def summary(cls) -> str:
        """Returns the first line of the probe's docstring."""
        return (cls.__doc__ or "").strip().split("\n")[0]


ProbeClass = TypeVar("ProbeClass", bound=type[Probe])
_REGISTRY: dict[str, type[Probe]] = {}


def register(name: str, version: int) -> Callable[[ProbeClass], ProbeClass]:
    """Enters a probe class under a name that no other class has."""

    def enter(cls: ProbeClass) -> ProbeClass:
        taken = _REGISTRY.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"Probe '{name}' is registered already, by {taken.__module__}.{taken.__qualname__}.")
        cls.name, cls.version = name, version
        _REGISTRY[name] = cls
        return cls

    return enter


def registry() -> Mapping[str, type[Probe]]:
    """Returns every probe of this folder by name, in alphabetical order."""
    package = importlib.import_module("probe.probes")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"probe.probes.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def probe_class(name: str) -> type[Probe]:
    """Returns the probe of that name.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
    """
    probes = registry()
    if name not in probes:
        raise UnknownNameError("probe", name, probes)
    return probes[name]


def fraction(mask: NDArray[np.bool_]) -> float:
    """Returns the share of true entries of a non-empty mask."""
    return float(np.mean(mask))
