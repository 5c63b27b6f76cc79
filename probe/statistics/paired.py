"""Paired differences of few draws: an interval that is honest at few, and the exact test beside it."""

from math import nan

import numpy as np
from jaxtyping import Float

from probe.arrays import NDArray

MAXIMUM_EXACT = 20
"""Pairs up to which every sign pattern is counted (a million)."""


def paired_t_interval(differences: Float[NDArray[np.float64], "draw"], confidence: float = 0.95) -> tuple[float, float]:
    """Returns the two-sided Student t interval of the mean difference; NaN twice below two draws.

    A percentile bootstrap of a mean covers 0.84 instead of 0.95 at five draws; this covers 0.95 where differences are
    about normal.
    """
    from scipy.stats import t

    count = len(differences)
    if count < 2:
        return nan, nan
    half = t.ppf((1 + confidence) / 2, count - 1) * differences.std(ddof=1) / count**0.5
    return float(differences.mean() - half), float(differences.mean() + half)


def sign_flip_p(differences: Float[NDArray[np.float64], "draw"]) -> float:
    """Returns the exact one-sided p value of a positive mean: the share of sign patterns whose sum is as large.

    Its smallest value is 2^-n, which is below 0.05 from five draws on.

    Raises:
        ValueError: no draw, or more than 20.
    """
    count = len(differences)
    if not 1 <= count <= MAXIMUM_EXACT:
        raise ValueError(f"The exact sign-flip test takes 1 to {MAXIMUM_EXACT} differences, got {count}.")
    sums: NDArray[np.float64] = np.zeros(1)
    for each in np.abs(differences):
        sums = np.concatenate([sums + each, sums - each])
    # The observed pattern is among them, but was summed in another order.
    tolerance = 1e-12 * np.abs(differences).sum()
    return float(np.mean(sums >= differences.sum() - tolerance))


def joint_sign_flip_p(differences: Float[NDArray[np.float64], "measure draw"]) -> Float[NDArray[np.float64], "measure"]:
    """Returns the exact one-sided p value of each measure's positive mean, corrected for how many measures there are.

    A sign pattern flips a draw in all measures at once, which keeps what they share. A measure's value is its sum over
    the root of its sum of squares; its p is the share of patterns at which the largest value of any measure is as large
    (max-T, Westfall & Young 1993). One measure alone gets `sign_flip_p`.

    Args:
        differences: NaN where a measure has none of a draw.

    Raises:
        ValueError: no draw, or more than 20.
    """
    count = differences.shape[1]
    if not 1 <= count <= MAXIMUM_EXACT:
        raise ValueError(f"The exact sign-flip test takes 1 to {MAXIMUM_EXACT} differences, got {count}.")
    known = np.nan_to_num(differences)
    lengths = np.linalg.norm(known, axis=1, keepdims=True)
    scaled = np.divide(known, lengths, out=np.zeros_like(known), where=lengths > 0)
    sums: NDArray[np.float64] = np.zeros((len(scaled), 1))
    for each in scaled.T[:, :, None]:
        sums = np.concatenate([sums + each, sums - each], axis=1)
    largest = sums.max(axis=0)
    # The observed pattern is among them, but was summed in another order.
    return np.array([np.mean(largest >= observed - 1e-12) for observed in scaled.sum(axis=1)])


def two_sided_sign_flip_p(differences: Float[NDArray[np.float64], "draw"]) -> float:
    """Returns the exact two-sided p value of the mean: the share of sign patterns whose sum is as far from 0.

    Raises:
        ValueError: no draw, or more than 20.
    """
    # Sign patterns come in pairs of opposite sums, so that either tail is as heavy.
    return min(1.0, 2 * sign_flip_p(differences if differences.sum() >= 0 else -differences))
