"""The difference of two means whose draws have nothing to do with each other."""

from math import nan

import numpy as np
from jaxtyping import Float

from probe.arrays import NDArray


def welch_interval(
    first: Float[NDArray[np.float64], "draw"],
    second: Float[NDArray[np.float64], "other_draw"],
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Returns the two-sided interval of mean(second) - mean(first) at unequal variances; NaN twice below two draws.

    Student's t at the Welch-Satterthwaite degrees of freedom (Welch 1947, Biometrika 34).
    """
    from scipy.stats import t

    if min(len(first), len(second)) < 2:
        return nan, nan
    squares = [each.var(ddof=1) / len(each) for each in (first, second)]
    difference = float(second.mean() - first.mean())
    total = sum(squares)
    if total == 0:
        return difference, difference
    # Shares, since the squares of very small variances would underflow.
    shares = [square / total for square in squares]
    freedom = 1 / sum(share**2 / (len(each) - 1) for share, each in zip(shares, (first, second), strict=True))
    half = float(t.ppf((1 + confidence) / 2, freedom) * total**0.5)
    return difference - half, difference + half
