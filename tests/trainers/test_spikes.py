import numpy as np
import pytest

from probe.trainers.spikes import SPIKE, Spikes, deviations


def test_deviations_by_hand() -> None:
    # Median 5.5, absolute deviations 0.5, 0.5, 1.5, ..., 4.5 with median 2.5.
    assert deviations(9.2065, list(range(1, 11))) == pytest.approx(1.0)
    assert deviations(5.5, list(range(1, 11))) == 0


def test_few_values_and_equal_ones_give_none() -> None:
    assert deviations(100.0, list(range(9))) is None
    assert deviations(100.0, [1.0] * 12) is None
    assert deviations(100.0, [1.0] * 7 + [2.0, 3.0, 4.0]) is None


def test_normal_numbers_are_no_spikes_and_far_ones_are() -> None:
    spikes, rng = Spikes(["loss/value"]), np.random.default_rng(0)
    found = [spikes.of({"loss/value": value})["spike/loss/value"] for value in rng.normal(3, 0.1, 1000).tolist()]
    known = [each for each in found if each is not None]
    assert len(known) == 990 and max(map(abs, known)) < SPIKE
    assert np.std(known) == pytest.approx(1, abs=0.1), "the deviations of normal numbers are standard deviations"
    assert (spikes.of({"loss/value": 5.0})["spike/loss/value"] or 0) > SPIKE
    assert abs(spikes.of({"loss/value": 3.0})["spike/loss/value"] or 0) < 2, "one spike moves the scale hardly"


def test_what_is_missing_is_passed_over_and_the_state_goes_on() -> None:
    spikes, resumed = Spikes(["a", "b"]), Spikes(["a", "b"])
    assert spikes.columns == ("spike/a", "spike/b")
    for value in range(20):
        assert "spike/b" not in spikes.of({"a": float(value), "b": None})
    resumed.set_state(spikes.get_state())
    assert resumed.of({"a": 30.0}) == spikes.of({"a": 30.0}) != {"spike/a": None}
