"""What paired arms say of a module's plasticity: differences, an exact test, and a verdict in plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, nan
from typing import Literal

import numpy as np
from jaxtyping import Float

from probe.arrays import NDArray
from probe.statistics.paired import MAXIMUM_EXACT, paired_t_interval, sign_flip_p
from probe.statistics.power import pairs_needed

ALPHA = 0.05
MINIMUM_PAIRS = 5
"""Below, no p value of the sign-flip test reaches 0.05."""
MAXIMUM_PAIRS = MAXIMUM_EXACT
"""The most that are asked for: an effect that needs more is too small to speak of."""

FLOOR = 0.05
"""Share of the loss at the start that counts as nothing."""

State = Literal["lost", "none", "undecided"]


@dataclass(frozen=True)
class Measure:
    """One kind of evidence, and what a difference of it is."""

    name: str
    words: str
    """What a person calls it."""
    is_ratio: bool
    """Whether it is a loss, compared as ln(reference / injected); else a score, compared as injected - reference."""
    start: str = ""
    """Of a loss, the name of what it is at the start."""
    margin: float = 0.0
    """What a gain has to be above, by test and interval: a head is one draw, and new ones can be a little better."""
    least: float = 0.0
    """Smallest mean difference that is a loss of plasticity."""

    def difference(self, reference: float, other: float, start: float = 0.0) -> float:
        """Returns how much better the other arm is; NaN where either has no number.

        Losses are counted from 5 % of the loss at the start: an arm that gets below has learnt, however far below.
        """
        if not self.is_ratio:
            return other - reference
        first, second = reference + FLOOR * start, other + FLOOR * start
        return log(first / second) if 0 < first < inf and 0 < second < inf else nan


# Up to 1.1 nothing is lost: a user's pre-registered band. Half of the loss is this project's own bound: of the heads in
# tests/benchmarks/detector.py healthy trained ones gain up to 1.6, those with 90 % of their units killed 2.2 and more.
RETURN = Measure("return", "return", is_ratio=False)
FITTING = Measure("fitting_average_loss", "target fitting", True, "fitting_initial_loss", log(1.1), log(2))
TD_ERROR = Measure("td_error_average_loss", "TD error", True, "td_error_initial_loss", log(1.1), log(2))
MEASURES = (RETURN, FITTING, TD_ERROR)


@dataclass(frozen=True)
class Comparison:
    """One measure over all pairs; a number that is not known is NaN."""

    measure: Measure
    differences: tuple[float, ...]
    """By pair; above zero where the arm is better than the reference."""
    mean: float
    low: float
    high: float
    """Ends of the 95 % t interval of the mean."""
    bound: float
    """Lower end of the t interval that is so wide that the intervals of all measures hold together at 95 %."""
    p: float
    """Exact, one-sided, of the sign-flip test for a mean above the margin."""
    effect_size: float
    """Mean over standard deviation, with the correction for few pairs of Hedges 1981."""
    measures: int
    """How many are looked at together."""

    @property
    def pairs(self) -> int:
        """How many pairs have a number."""
        return sum(map(isfinite, self.differences))

    @property
    def found(self) -> bool:
        """Whether the gain is large, and above the margin by the test and by the interval."""
        certain = self.pairs >= MINIMUM_PAIRS and self.p <= ALPHA and self.bound > self.measure.margin
        return certain and self.mean >= self.measure.least

    @property
    def needed(self) -> int | None:
        """Pairs to find a true difference of the size observed with a power of 80 %.

        None where that would be no loss, or more than `MAXIMUM_PAIRS` are needed.
        """
        known = np.array([each for each in self.differences if isfinite(each)])
        if len(known) < 2 or not self.mean >= self.measure.least:
            return None
        gain, spread = known.mean() - self.measure.margin, known.std(ddof=1)
        effect = inf if gain > 0 and spread == 0 else gain / spread if spread > 0 else 0.0
        least = max(MINIMUM_PAIRS, len(known) + 1)
        return pairs_needed(effect, least, MAXIMUM_PAIRS, confidence=_together(self.measures))


@dataclass(frozen=True)
class Verdict:
    """What the comparisons come to."""

    state: State
    more: int = 0
    """Where undecided, how many more pairs would be needed."""
    because: tuple[str, ...] = ()
    """Where lost, the measures that show it, in words."""

    def words(self, module: str) -> str:
        """Returns the verdict on a module (`actor`, `critic`, or `both` as one function)."""
        if self.state == "lost":
            place = "actor and critic, injected as one" if module == "both" else module
            return f"plasticity lost in the {place}"
        if self.state == "none":
            return "no evidence of loss at this budget"
        return f"undecided, {self.more} more seed{'s' if self.more > 1 else ''} would be needed"


def compare(pairs: Mapping[Measure, Sequence[tuple[float, ...]]]) -> list[Comparison]:
    """Compares an arm with its reference.

    Args:
        pairs: (reference, arm) by measure, of losses (reference, arm, reference at the start); every measure with the
            same pairs in the same order; NaN where a number is missing. At least one pair, at most `MAXIMUM_PAIRS`.
    """
    return [
        _comparison(measure, np.array([measure.difference(*pair) for pair in of]), len(pairs))
        for measure, of in pairs.items()
    ]


def decide(comparisons: Sequence[Comparison]) -> Verdict:
    """Returns the verdict.

    Lost: a measure's gain is large, and above its margin by the exact test and by an interval that counts the measures.
    Undecided: there are too few pairs, or some measure gained so much that up to `MAXIMUM_PAIRS` could show it.
    Else there is no evidence, which is no proof of health.
    """
    found = tuple(each.measure.words for each in comparisons if each.found)
    if found:
        return Verdict("lost", because=found)
    known = max((each.pairs for each in comparisons), default=0)
    needed = [each.needed - each.pairs for each in comparisons if each.needed is not None]
    if needed or known < MINIMUM_PAIRS:
        return Verdict("undecided", max(min(needed, default=0), MINIMUM_PAIRS - known, 1))
    return Verdict("none")


def _comparison(measure: Measure, differences: Float[NDArray[np.float64], "draw"], measures: int) -> Comparison:
    known = differences[np.isfinite(differences)]
    mean = float(known.mean()) if len(known) else nan
    bound, _ = paired_t_interval(known, _together(measures))
    p = sign_flip_p(known - measure.margin) if len(known) else nan
    interval = paired_t_interval(known)
    return Comparison(measure, tuple(differences.tolist()), mean, *interval, bound, p, _effect_size(known), measures)


def _together(measures: int) -> float:
    """Returns the confidence of each interval at which all hold together at 95 % (Bonferroni)."""
    return 1 - ALPHA / measures


def _effect_size(differences: Float[NDArray[np.float64], "draw"]) -> float:
    if len(differences) < 3 or differences.std(ddof=1) == 0:
        return nan
    correction = 1 - 3 / (4 * (len(differences) - 1) - 1)
    return float(correction * differences.mean() / differences.std(ddof=1))
