import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.datasets.returns import ReturnTracker
from probe.returns import discounted

REWARDS = st.lists(st.floats(-10, 10), max_size=30)


def test_returns_by_hand():
    assert discounted(np.array([1.0, 2.0, 4.0]), 0.5).tolist() == [3.0, 4.0, 4.0]
    assert discounted(np.array([]), 0.9).tolist() == []


def test_no_discount_sums_and_full_discount_keeps_the_reward():
    rewards = np.array([1.0, -2.0, 3.0])
    assert discounted(rewards, 1.0).tolist() == [2.0, 1.0, 3.0]
    assert discounted(rewards, 0.0).tolist() == rewards.tolist()


@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS, gamma=st.floats(0, 1))
def test_returns_equal_the_sum_over_powers(rewards, gamma):
    rewards = np.array(rewards)
    expected = [(gamma ** np.arange(len(rewards) - t) * rewards[t:]).sum() for t in range(len(rewards))]
    np.testing.assert_allclose(discounted(rewards, gamma), expected, rtol=1e-9, atol=1e-9)


def test_only_stored_decisions_come_back_with_their_rows():
    tracker = ReturnTracker(2, gamma=0.5)
    tracker.store(np.array([1]), range(7, 8))
    tracker.add(np.float32([1, 10]))
    tracker.store(np.array([0, 1]), range(8, 10))
    tracker.add(np.float32([2, 20]))
    rows, returns = tracker.end(1)
    assert rows.tolist() == [7, 9] and returns.tolist() == [20.0, 20.0]
    tracker.add(np.float32([4, 40]))
    rows, returns = tracker.end(0)
    assert rows.tolist() == [8] and returns.tolist() == [4.0]
    rows, _ = tracker.end(1)
    assert rows.tolist() == []
