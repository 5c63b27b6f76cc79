"""The signs of a loss of plasticity: which measure shows it, from which value on, and what it means."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from probe.diagnosis.courses import Course, Value
from probe.diagnosis.thresholds import Thresholds

Severity = Literal["degrading", "lost"]
Rule = Callable[[Value, Value, Thresholds], Severity | None]
"""Judges a value by the first checkpoint's; None: no sign."""

Extent = Callable[[Value, Value], float]
"""How far a value has gone towards a loss; for finding the layer that is nearest to one."""

RECTIFIED = frozenset({"relu", "relu6", "rnn_relu"})
"""Nonlinearities whose zero means inactive."""
_SATURATING = frozenset({"tanh", "rnn_tanh", "sigmoid", "gelu", "silu", "mish"})
_SIGN_SPLIT = frozenset({"leaky_relu", "prelu", "rrelu"})
_CRELU = frozenset({"crelu"})


def units_lost(first: Value, value: Value, thresholds: Thresholds) -> Severity | None:
    """Judges a share of units by how many of those that worked at the first checkpoint are gone (`units`)."""
    if lost_of_working(first, value) < thresholds.units:
        return None
    return "lost" if value.value >= thresholds.units_all else "degrading"


def units_fade(first: Value, value: Value, thresholds: Thresholds) -> Severity | None:
    """Judges a share of dormant units in the same way, by the wider bound `dormant`: learning itself makes some."""
    return "degrading" if lost_of_working(first, value) >= thresholds.dormant else None


def lost_of_working(first: Value, value: Value) -> float:
    """Returns the share of what worked at the first checkpoint that does not any more."""
    return (value.value - first.value) / (1 - first.value) if first.value < 1 else 0.0


def activity_falls(first: Value, value: Value, thresholds: Thresholds) -> Severity | None:
    """Judges an FAU by its fall, as a share of the first value."""
    return "degrading" if 0 < first.value and value.value <= (1 - thresholds.activity) * first.value else None


def rank_falls(first: Value, value: Value, thresholds: Thresholds) -> Severity | None:
    """Judges a rank by its fall, as a share of the first value."""
    return "degrading" if 0 < first.value and value.value <= (1 - thresholds.rank) * first.value else None


def fallen(first: Value, value: Value) -> float:
    """Returns the fall as a share of the first value."""
    return 1 - value.value / first.value if first.value > 0 else 0.0


def collapses(first: Value, value: Value, thresholds: Thresholds) -> Severity | None:
    """Judges the flag of a collapse; a layer that began collapsed has lost nothing."""
    return "lost" if value.value > first.value else None


def fits_slower(first: Value, value: Value, thresholds: Thresholds) -> Severity | None:
    """Judges the ratio of losses after fitting new targets, to a new network's."""
    return "lost" if value.value >= thresholds.fitting else None


def is_said(first: Value, value: Value, thresholds: Thresholds) -> Severity | None:
    """Judges the verdict of a probe that has thresholds of its own: 1 says that plasticity is lost."""
    return "lost" if value.value >= 1 else None


@dataclass(frozen=True)
class Sign:
    """One measure whose course can show a loss."""

    name: str
    """What a person calls it."""
    probe: str
    metric: str
    rule: Rule
    means: str
    does_not_mean: str
    unit: Literal["%", "x", "flag", ""] = "%"
    at: float | None = None
    """The row's own threshold (a tau, a margin); None: whatever it is."""
    functions: frozenset[str] = frozenset()
    """Nonlinearities for which the measure means inactivity; empty: all."""
    low: str | None = None
    """Metric of the lower end of the value's interval, which must be clear, too."""
    absolute: bool = False
    """Whether it is no comparison with the first checkpoint."""
    clears: bool = True
    """Whether its absence speaks for health."""
    extent: Extent = lost_of_working

    def measures(self, course: Course) -> bool:
        """Whether a course is of this sign's measure, of a layer or averaged over any."""
        same = (course.probe, course.metric) == (self.probe, self.metric)
        return same and (self.at is None or course.threshold == self.at)

    def means_something(self, function: str) -> bool:
        """Whether a layer with this nonlinearity can show it."""
        return not self.functions or function in self.functions

    def fits(self, course: Course, function: str) -> bool:
        """Whether a course is of this sign's measure, in a layer where it means something."""
        own = course.aggregation in ("layer", "none")
        return own and self.measures(course) and self.means_something(function)


SIGNS = (
    Sign(
        "fitting new targets, loss beside a new network's",
        "fitting",
        "random_network_ratio",
        fits_slower,
        "in the same few steps it gets less far in learning something new than a new network: plasticity itself",
        "that the task in hand suffers, or which layer is to blame",
        unit="x",
        low="random_network_ratio_low",
        absolute=True,
        extent=lambda first, value: value.value,
    ),
    Sign(
        "memorising shuffled targets, loss beside a new network's",
        "fitting",
        "label_shuffle_ratio",
        fits_slower,
        "in the same few steps it memorises less than a new network: plasticity itself",
        "that the task in hand suffers, or which layer is to blame",
        unit="x",
        low="label_shuffle_ratio_low",
        absolute=True,
        extent=lambda first, value: value.value,
    ),
    Sign(
        "learning better with a new head",
        "injection",
        "verdict",
        is_said,
        "with new head parameters, at the same function, it fits new targets better: its own stand in the way",
        "that a new head helps the task in hand; what is lost before the head is lost with a new one, too",
        unit="flag",
        absolute=True,
        clears=False,
    ),
    Sign(
        "collapsed",
        "collapse",
        "collapsed",
        collapses,
        "nothing of the observation passes this layer any more, or next to nothing",
        "that it began at this checkpoint: it did so since the one before",
        unit="flag",
    ),
    Sign(
        "dead units",
        "activity",
        "dead_fraction",
        units_lost,
        "these units are never active on the observation set; they get no gradient from it",
        "that the network learns more slowly: a wide layer can spare units, and other observations may wake them",
        functions=RECTIFIED,
    ),
    Sign(
        "dormant units (tau 0.025)",
        "dormancy",
        "dormant_fraction",
        units_fade,
        "these units are small beside their layer's mean and add little to what follows",
        "that they are dead, or that the network learns more slowly; dormancy is relative to its layer",
        at=0.025,
    ),
    Sign(
        "active units (FAU)",
        "fau",
        "fau",
        activity_falls,
        "a typical observation activates far fewer units than at the start",
        "that units died: a sparse code has a low FAU with every unit in use",
        functions=RECTIFIED,
        extent=fallen,
    ),
    Sign(
        "saturated units",
        "saturation",
        "saturated_unit_fraction",
        units_lost,
        "these units sit at the flat end of their nonlinearity on every observation; their gradient is next to zero",
        "that they carry no signal to the layers after them",
        functions=_SATURATING,
    ),
    Sign(
        "linearised units",
        "saturation",
        "linearised_unit_fraction",
        units_lost,
        "these units have one sign on every observation and are linear there",
        "that they learn nothing: a leaky unit has a gradient on both sides",
        functions=_SIGN_SPLIT,
    ),
    Sign(
        "pairs of one sign",
        "saturation",
        "fixed_sign_fraction",
        units_lost,
        "one half of each of these pairs is never active",
        "that the other half learns nothing",
        functions=_CRELU,
    ),
    Sign(
        "dead pairs",
        "saturation",
        "dead_pair_fraction",
        units_lost,
        "both halves of each of these pairs are silent on every observation",
        "that other observations leave them silent too",
        functions=_CRELU,
    ),
    Sign(
        "copied units",
        "redundancy",
        "duplicate_fraction",
        units_lost,
        "these units say what another unit says: the layer is narrower than it looks",
        "that they stay copies: unequal outgoing weights can part them",
    ),
    Sign(
        "constant units",
        "redundancy",
        "constant_fraction",
        units_lost,
        "these units give the same output for every observation",
        "that they are constant on other observations",
    ),
    Sign(
        "rank of the features (srank)",
        "rank",
        "srank",
        rank_falls,
        "the observations span fewer directions of the layer's feature space than at the start",
        "that the network learns more slowly: learning a task commonly lowers ranks",
        unit="",
        extent=fallen,
    ),
)
"""In the order in which evidence is told: what measures plasticity itself first."""
