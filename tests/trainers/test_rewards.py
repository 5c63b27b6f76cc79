import numpy as np

from probe.trainers.rewards import RewardNormaliser


def test_the_running_variance_is_that_of_all_discounted_returns() -> None:
    rng = np.random.default_rng(0)
    normaliser = RewardNormaliser(3, 0.9, normalise=True, clip=None)
    returns, running = [], np.zeros(3)
    for _ in range(400):
        rewards, ended = rng.normal(size=3).astype(np.float32), rng.random(3) < 0.1
        running = running * 0.9 + rewards
        returns.append(running.copy())
        scaled = normaliser(rewards, ended)
        running[ended] = 0
    # The start counts as 1e-4 of an observation of variance 1.
    assert np.isclose(normaliser.variance, np.var(returns), rtol=1e-5)
    assert np.allclose(scaled, rewards / np.std(returns), rtol=1e-5)


def test_rewards_are_clipped_after_the_scaling() -> None:
    rewards = np.array([0.5, -4.0], np.float32)
    ended = np.zeros(2, np.bool_)
    assert RewardNormaliser(2, 0.9, normalise=False, clip=1.0)(rewards, ended).tolist() == [0.5, -1.0]
    assert RewardNormaliser(2, 0.9, normalise=False, clip=None)(rewards, ended).tolist() == [0.5, -4.0]


def test_a_restored_normaliser_goes_on_the_same() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(20, 2)).astype(np.float32)
    ended = np.array([False, True])
    first, second = (RewardNormaliser(2, 0.9, normalise=True, clip=2.0) for _ in range(2))
    for rewards in draws[:10]:
        first(rewards, ended)
    second.set_state(first.get_state())
    for rewards in draws[10:]:
        assert np.array_equal(first(rewards, ended), second(rewards, ended))
