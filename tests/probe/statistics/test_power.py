"""Power: a second formula, a simulation, and its ends."""

from math import inf

import numpy as np
import pytest

from probe.statistics.paired import paired_t_interval
from probe.statistics.power import paired_power, pairs_needed


def test_the_power_is_what_a_simulation_finds() -> None:
    samples = np.random.default_rng(0).normal(1.0, 1.0, (1500, 8))
    found = np.mean([paired_t_interval(each)[0] > 0 for each in samples])
    assert paired_power(1.0, 8) == pytest.approx(found, abs=0.03)


def test_without_an_effect_it_is_half_of_what_the_interval_leaves_out() -> None:
    assert paired_power(0.0, 9) == pytest.approx(0.025)


def test_cohens_table_is_reproduced() -> None:
    # Two-sided at 0.05 with a power of 0.8: 34 pairs for an effect of 0.5, 15 for 0.8 (Cohen 1988).
    assert pairs_needed(0.5, 2, 100) == 34
    assert pairs_needed(0.8, 2, 100) == 15


@pytest.mark.parametrize(("effect", "needed"), [(0.0, None), (-1.0, None), (0.1, None), (inf, 5), (50.0, 5)])
def test_the_ends(effect: float, needed: int | None) -> None:
    assert pairs_needed(effect, 5, 20) == needed
