"""Welch's interval: known values, SciPy's second opinion, and coverage."""

from math import isnan

import numpy as np
import pytest
from scipy.stats import ttest_ind

from probe.statistics.welch import welch_interval


def test_the_interval_is_scipys() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 4), rng.normal(1, 5, 7)
    expected = ttest_ind(second, first, equal_var=False).confidence_interval(0.9)
    assert welch_interval(first, second, 0.9) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_equal_numbers_on_each_side_have_an_interval_of_no_width() -> None:
    assert welch_interval(np.array([1.0, 1.0]), np.array([3.0, 3.0, 3.0])) == (2.0, 2.0)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [])])
def test_one_draw_on_a_side_has_no_interval(first: list[float], second: list[float]) -> None:
    assert all(isnan(end) for end in welch_interval(np.array(first), np.array(second, dtype=float)))


def test_sides_that_change_places_turn_the_interval_round() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, 3), rng.normal(1, 2, 5)
    low, high = welch_interval(first, second)
    assert welch_interval(second, first) == pytest.approx((-high, -low), rel=1e-12)


def test_the_interval_covers_what_it_says_at_few_draws_and_unequal_spread() -> None:
    rng = np.random.default_rng(2)
    pairs = zip(rng.normal(0, 1, (2000, 4)), rng.normal(1, 3, (2000, 6)), strict=True)
    covered = [low <= 1.0 <= high for low, high in (welch_interval(*pair) for pair in pairs)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_very_small_draws_have_the_interval_of_their_scale() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 3), rng.normal(1, 2, 5)
    ends = welch_interval(1e-120 * first, 1e-120 * second)
    assert ends == pytest.approx([1e-120 * end for end in welch_interval(first, second)], rel=1e-9, abs=0)
