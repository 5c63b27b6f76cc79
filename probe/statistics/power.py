"""How many pairs it takes to see an effect of a given size."""

from math import sqrt


def paired_power(effect: float, pairs: int, confidence: float = 0.95) -> float:
    """Returns the probability that the two-sided paired t interval lies above zero.

    Args:
        effect: True mean over true standard deviation of normal differences.
        pairs: At least two.
        confidence: Of the interval.
    """
    from scipy.stats import nct, t

    return float(nct.sf(t.ppf((1 + confidence) / 2, pairs - 1), pairs - 1, effect * sqrt(pairs)))


def pairs_needed(effect: float, least: int, most: int, power: float = 0.8, confidence: float = 0.95) -> int | None:
    """Returns the smallest number of pairs with that power, from `least` to `most`; None where these are too few."""
    if effect <= 0:
        return None
    # The noncentral t has no more than rounding left of itself where the effect is far above what any number needs.
    bounded = min(effect, 10.0)
    return next((pairs for pairs in range(least, most + 1) if paired_power(bounded, pairs, confidence) >= power), None)
