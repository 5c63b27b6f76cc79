"""The detector's rules: by hand, and what they cost and find in simulation."""

from dataclasses import replace
from math import exp, inf, isnan, log, nan

import numpy as np
import pytest

from probe.detection import Comparison, Measure, compare, decide
from probe.detection.verdict import FITTING, MAXIMUM_PAIRS, RETURN, TD_ERROR
from probe.statistics.paired import sign_flip_p


def losses(*ratios: float) -> list[tuple[float, ...]]:
    """Returns pairs of (reference, injected) losses with these ratios."""
    return [(ratio, 1.0, 0.0) for ratio in ratios]


def returns(*gains: float) -> list[tuple[float, ...]]:
    return [(10.0, 10.0 + gain) for gain in gains]


def words(**pairs: list[tuple[float, ...]]) -> str:
    measures = {"gain": RETURN, "fit": FITTING, "td": TD_ERROR}
    return decide(compare({measures[name]: given for name, given in pairs.items()})).words("critic")


def test_five_pairs_that_all_gain_much_are_a_loss() -> None:
    assert words(fit=losses(3.0, 3.1, 2.9, 3.2, 3.0)) == "plasticity lost in the critic"


def test_a_gain_within_the_margin_is_no_evidence_however_regular_it_is() -> None:
    assert words(fit=losses(1.05, 1.06, 1.05, 1.055, 1.05)) == "no evidence of loss at this budget"


def test_a_regular_gain_in_return_alone_is_a_loss() -> None:
    assert words(gain=returns(5.0, 6.0, 5.5, 4.8, 5.2), fit=losses(1.0, 0.9, 1.1, 1.0, 0.95)).startswith("plasticity")


def test_a_regular_gain_between_the_bands_is_no_evidence() -> None:
    assert words(fit=losses(1.8, 1.81, 1.8, 1.82, 1.8)) == "no evidence of loss at this budget"


def test_a_measure_that_gets_worse_hides_no_other() -> None:
    assert words(fit=losses(9.0, 8.0, 9.5, 9.1, 8.8), td=losses(0.4, 0.4, 0.41, 0.4, 0.39)).startswith("plasticity")


def test_no_gain_at_all_is_no_evidence_and_no_word_says_plastic() -> None:
    found = words(gain=returns(-1.0, 0.5, -0.7, 0.1, -0.2), fit=losses(1.0, 0.9, 1.0, 0.95, 1.02))
    assert found == "no evidence of loss at this budget" and "plastic " not in found


def test_fewer_than_five_pairs_are_never_a_verdict() -> None:
    assert words(fit=losses(5.0, 5.0, 5.1, 5.0)) == "undecided, 1 more seed would be needed"
    assert words(fit=losses(0.5, 0.6)) == "undecided, 3 more seeds would be needed"


def test_a_large_but_irregular_gain_is_undecided() -> None:
    found = decide(compare({FITTING: losses(9.0, 1.0, 8.0, 0.9, 5.0)}))
    assert found.state == "undecided" and 1 <= found.more <= MAXIMUM_PAIRS - 5


def test_a_gain_that_twenty_pairs_could_not_show_is_no_evidence() -> None:
    assert words(gain=returns(10.0, -9.0, 8.0, -7.5, 1.0)) == "no evidence of loss at this budget"


def test_an_arm_that_diverged_takes_its_pair_out_and_no_more() -> None:
    (found,) = compare({FITTING: [*losses(3.0, 3.1, 2.9, 3.2, 3.0), (nan, 1.0, 0.0)]})
    assert found.pairs == 5 and found.found
    assert found.mean == pytest.approx(np.log([3.0, 3.1, 2.9, 3.2, 3.0]).mean())


@pytest.mark.parametrize("pair", [(0.0, 1.0), (inf, 1.0), (1.0, inf), (-1.0, 1.0), (nan, 1.0, 0.0)])
def test_a_ratio_of_what_is_no_loss_is_no_number(pair: tuple[float, float]) -> None:
    assert isnan(FITTING.difference(*pair))


def test_losses_that_are_nothing_beside_the_start_are_alike() -> None:
    assert FITTING.difference(0.02, 0.002, 1.0) == pytest.approx(log(0.07 / 0.052))
    assert FITTING.difference(1.0, 0.0, 1.0) == pytest.approx(log(21))
    (found,) = compare({FITTING: [(0.02, 0.002, 1.0)] * 5})
    assert found.mean < FITTING.least


def test_a_measure_without_a_single_number_changes_nothing() -> None:
    alone = compare({FITTING: losses(3.0, 3.1, 2.9, 3.2, 3.0)})
    none, beside = compare({RETURN: [(nan, nan)] * 5, FITTING: losses(3.0, 3.1, 2.9, 3.2, 3.0)})
    assert isnan(none.mean) and isnan(none.p) and not none.found
    assert replace(beside, bound=0.0, measures=1) == replace(alone[0], bound=0.0)


def test_the_test_is_the_exact_one_of_the_gain_above_the_margin() -> None:
    ratios = (1.5, 1.3, 0.9, 1.2, 1.4, 1.25)
    (found,) = compare({FITTING: losses(*ratios)})
    assert found.p == pytest.approx(sign_flip_p(np.log(ratios) - log(1.1)))


def test_the_effect_size_is_hedges_correction_of_the_standardised_mean() -> None:
    (found,) = compare({RETURN: returns(1.0, 2.0, 3.0)})
    assert found.effect_size == pytest.approx(2.0 * (1 - 3 / 7))


def test_actor_and_critic_as_one_are_named_so() -> None:
    assert (
        decide(compare({FITTING: losses(3.0, 3.0, 3.0, 3.0, 3.1)}))
        .words("both")
        .endswith("actor and critic, injected as one")
    )


def simulated(
    rng: np.random.Generator, pairs: int, gain: float = 0.0, spread: float = 1.0, measures: int = 3
) -> list[Comparison]:
    """Compares normal differences that share half of their variance between measures; the first has the gain."""
    shared = rng.normal(0, 1, pairs)
    own = rng.normal(0, 1, (measures, pairs))
    differences = spread * (shared + own) / 2**0.5
    differences[0] += gain
    kinds = [Measure(str(index), "", is_ratio=False) for index in range(measures)]
    return compare({kind: [(0.0, each) for each in row.tolist()] for kind, row in zip(kinds, differences, strict=True)})


def test_without_any_gain_a_loss_is_found_in_fewer_than_one_of_twenty() -> None:
    rng = np.random.default_rng(0)
    found = np.mean([any(each.found for each in simulated(rng, 5)) for _ in range(1000)])
    assert found <= 0.05 + 2 * (0.05 * 0.95 / 1000) ** 0.5


def test_the_interval_covers_what_it_says_at_five_pairs() -> None:
    rng = np.random.default_rng(1)
    covered = [each.low <= 0.7 <= each.high for _ in range(1000) for each in simulated(rng, 5, gain=0.7, measures=1)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_a_regular_gain_is_found_with_five_pairs_beside_measures_of_noise() -> None:
    rng = np.random.default_rng(2)
    found = np.mean([any(each.found for each in simulated(rng, 5, gain=6.0)) for _ in range(300)])
    assert found > 0.9


@pytest.mark.parametrize("effect", [0.9, 1.3])
def test_the_seeds_that_are_asked_for_are_enough_four_times_in_five(effect: float) -> None:
    rng = np.random.default_rng(3)
    known = np.array([-1.0, 1.0, -1.0, 1.0, 0.0])  # mean 0
    gains = effect * known.std(ddof=1) + known
    (found,) = compare({RETURN: returns(*gains.tolist())})
    assert found.needed is not None
    shown = [simulated(rng, found.needed, gain=effect, measures=1)[0].found for _ in range(400)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.07)


def test_differences_of_losses_are_logarithms() -> None:
    (found,) = compare({TD_ERROR: losses(exp(0.5), exp(0.7))})
    assert found.differences == pytest.approx((0.5, 0.7))
