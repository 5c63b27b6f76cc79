"""Change over depth: known sequences and edges."""

import numpy as np
import pytest

from probe.depth import depth_ratio, log_slope, verdict


def test_halving_every_layer_is_a_slope_of_minus_ln_2() -> None:
    assert log_slope((10.0, 5.0, 2.5)) == pytest.approx(-np.log(2))


def test_the_slope_is_that_of_a_polynomial_fit() -> None:
    values = np.random.default_rng(0).uniform(0.1, 5, 7)
    assert log_slope(values.tolist()) == pytest.approx(np.polyfit(np.arange(7), np.log(values), 1)[0])


def test_the_known_ratios_are_flagged_below_a_tenth() -> None:
    fine, gone = depth_ratio((10.0, 5.0, 2.5)), depth_ratio((10.0, 1.0, 0.5))
    assert (fine, gone) == pytest.approx((0.25, 0.05))
    assert fine is not None and gone is not None
    assert (verdict(fine, 0.1), verdict(gone, 0.1), verdict(1 / gone, 0.1)) == (0, -1, 1)


@pytest.mark.parametrize("values", [(), (1.0,), (0.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_what_cannot_be_divided_has_no_slope_and_no_ratio(values: tuple[float, ...]) -> None:
    assert log_slope(values) is None and depth_ratio(values) is None


def test_a_signal_that_dies_has_a_ratio_and_no_slope() -> None:
    assert (log_slope((1.0, 0.0)), depth_ratio((1.0, 0.0))) == (None, 0.0)
