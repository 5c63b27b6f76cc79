import numpy as np
import pytest

from probe.recovery import Recovery, last_steps, logged_scores, recoveries, sawtooth_index

STEPS = np.arange(10, 310, 10)


def scores(*segments: tuple[float | int, int]) -> np.ndarray:
    return np.concatenate([np.full(rows, float(value)) for value, rows in segments])


def test_a_fall_and_its_recovery_by_hand() -> None:
    # Ten rows a task. 8 before the shift after step 100; then 2, 4 from step 130, 7.2 from step 170 on.
    logged = scores((1, 9), (8, 1), (2, 2), (4, 4), (7.2, 4), (7.2, 10))
    first, second = recoveries(STEPS, logged, [100, 200])
    assert first == Recovery(100, 8.0, 2.0, 0.75, {0.5: 30, 0.9: 70})
    assert second == Recovery(200, 7.2, 7.2, 0.0, {0.5: 0, 0.9: 0})


def test_the_score_before_is_a_mean_over_the_last_tenth_of_the_tasks_steps() -> None:
    steps = np.arange(1, 41)
    logged = scores((100, 18), (4, 1), (6, 1), (1, 20))
    assert recoveries(steps, logged, [20])[0].before == 5


def test_a_score_that_never_comes_back_has_no_time_and_one_that_never_falls_a_negative_drop() -> None:
    lost, risen = recoveries(STEPS, scores((8, 10), (3, 10), (6, 10)), [100, 200])
    assert lost.recovered == {0.5: None, 0.9: None} and lost.drop == 5 / 8
    assert risen.recovered == {0.5: 0, 0.9: 0} and risen.drop == -1


def test_a_score_that_has_not_fallen_yet_is_no_recovery() -> None:
    # Above both levels for one row, then far below, back at 60 % after 50 steps and at 100 % after 90.
    (found,) = recoveries(STEPS, scores((10, 10), (9.5, 1), (2, 3), (6, 4), (10, 12)), [100])
    assert found.recovered == {0.5: 50, 0.9: 90}


def test_a_dip_after_the_recovery_is_not_this_shifts() -> None:
    (found,) = recoveries(STEPS, scores((10, 10), (7, 2), (9.5, 5), (4, 1), (9.5, 12)), [100])
    assert found.recovered == {0.5: 0, 0.9: 30} and found.lowest == 4


def test_the_next_shift_ends_what_counts() -> None:
    first, _ = recoveries(STEPS, scores((8, 10), (3, 10), (9, 10)), [100, 200])
    assert first.recovered[0.9] is None and first.lowest == 3


def test_shares_of_a_score_that_is_not_positive_are_not_defined() -> None:
    (found,) = recoveries(STEPS, scores((-8, 10), (-20, 20)), [100])
    assert (found.before, found.lowest, found.drop) == (-8, -20, None)
    assert found.recovered == {0.5: None, 0.9: None}


def test_a_shift_without_scores_on_one_side_has_no_numbers() -> None:
    (found,) = recoveries(STEPS[:10], scores((8, 10)), [100])
    assert (found.before, found.lowest, found.drop) == (8, None, None)
    (early,) = recoveries(STEPS[10:], scores((8, 20)), [100])
    assert (early.before, early.lowest) == (None, 8)
    assert recoveries(np.zeros(0, np.int64), np.zeros(0), []) == []


@pytest.mark.parametrize("scale", [0.1, 7.0])
def test_times_and_drops_do_not_depend_on_the_scale_of_the_returns(scale: float) -> None:
    logged = np.random.default_rng(0).uniform(1, 9, 30)
    plain, scaled = (recoveries(STEPS, factor * logged, [100, 200]) for factor in (1.0, scale))
    assert [each.recovered for each in plain] == [each.recovered for each in scaled]
    assert np.allclose([each.drop for each in plain], [each.drop for each in scaled])


def test_the_sawtooth_index_by_hand() -> None:
    # Drops: 10 to 4, 8 to 2: mean 6. Gains: 4 to 8, 2 to 6: mean 4.
    logged = scores((10, 10), (4, 5), (8, 5), (2, 5), (6, 5))
    assert sawtooth_index(STEPS, logged, [100, 200]) == 1.5


def test_one_reset_or_no_gain_has_no_sawtooth() -> None:
    assert sawtooth_index(STEPS, scores((10, 10), (4, 20)), [100]) is None
    assert sawtooth_index(STEPS, scores((10, 10), (4, 10), (2, 10)), [100, 200]) is None
    assert sawtooth_index(STEPS, scores((10, 10), (4, 20)), [100, 100]) is None


def test_scores_and_shifts_are_read_from_a_logs_columns() -> None:
    columns = {
        "step": np.array([10.0, 20.0, 30.0]),
        "task": np.array([0.0, 0.0, 1.0]),
        "return/recent": np.array([np.nan, 5.0, 2.0]),
    }
    steps, logged = logged_scores(columns)
    assert steps.tolist() == [20, 30] and logged.tolist() == [5, 2]
    assert last_steps(columns) == [20]
    assert len(logged_scores({"step": columns["step"]})[0]) == 0
