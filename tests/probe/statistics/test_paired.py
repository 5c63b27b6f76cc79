"""Paired differences: known values, SciPy's second opinion, and coverage."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from probe.statistics.paired import paired_t_interval, sign_flip_p, two_sided_sign_flip_p


def test_five_positive_differences_have_the_smallest_p() -> None:
    assert sign_flip_p(np.array([0.1, 2.0, 0.3, 1.0, 0.7])) == 1 / 32


def test_the_p_value_of_no_difference_is_one() -> None:
    assert sign_flip_p(np.zeros(6)) == 1.0


def test_the_p_value_is_scipys() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, 9)
    expected = permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert sign_flip_p(differences) == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_two_sided_p_value_is_scipys_whichever_side_is_larger(sign: int) -> None:
    differences = sign * np.random.default_rng(3).normal(0.4, 1, 9)
    expected = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert two_sided_sign_flip_p(differences) == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize(
    ("differences", "p"), [([1.0, 2.0, 3.0], 0.25), ([-1.0, -2.0, -3.0], 0.25), ([1.0, -1.0], 1.0)]
)
def test_the_two_sided_p_value_is_known(differences: list[float], p: float) -> None:
    assert two_sided_sign_flip_p(np.array(differences)) == p


def test_the_interval_is_scipys() -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, 7)
    expected = ttest_1samp(differences, 0).confidence_interval(0.9)
    assert paired_t_interval(differences, 0.9) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_one_draw_has_no_interval() -> None:
    assert all(math.isnan(each) for each in paired_t_interval(np.array([1.0])))


@pytest.mark.parametrize("draws", [3, 5])
def test_the_interval_covers_what_it_says_at_few_draws(draws: int) -> None:
    samples = np.random.default_rng(2).normal(1.0, 1.0, (2000, draws))
    covered = [low <= 1.0 <= high for low, high in map(paired_t_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("count", [0, 21])
def test_too_few_or_too_many_differences_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"got {count}"):
        sign_flip_p(np.ones(count))
