import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probe.trainers.advantages import generalised_advantages


def by_direct_sum(
    rewards: Tensor, values: Tensor, ended: Tensor, final: Tensor, last: Tensor, gamma: float, lam: float
) -> Tensor:
    """Equation 16 as it is written: for each decision, the sum of all later errors of the same episode."""
    steps, environments = rewards.shape
    result = torch.zeros(steps, environments, dtype=torch.float64)
    for start in range(steps):
        for env in range(environments):
            for later in range(start, steps):
                following = values[later + 1, env] if later + 1 < steps else last[env]
                following = final[later, env] if ended[later, env] else following
                delta = rewards[later, env] + gamma * following - values[later, env]
                result[start, env] += (gamma * lam) ** (later - start) * delta.double()
                if ended[later, env]:
                    break
    return result.float()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 7),
    environments=st.integers(1, 3),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
)
def test_the_recursion_equals_the_direct_sum(
    seed: int, steps: int, environments: int, gamma: float, lam: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(steps, environments, generator=rng) for _ in range(2))
    ended = torch.rand(steps, environments, generator=rng) < 0.3
    final = torch.where(ended & (torch.rand(steps, environments, generator=rng) < 0.5), 2.0, 0.0)
    last = torch.randn(environments, generator=rng)
    found = generalised_advantages(rewards, values, ended, final, last, gamma, lam)
    assert torch.allclose(found, by_direct_sum(rewards, values, ended, final, last, gamma, lam), atol=1e-5)


def test_lambda_one_gives_the_discounted_return_less_the_value() -> None:
    rewards, values = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [0.25]])
    none = torch.zeros(2, 1, dtype=torch.bool)
    found = generalised_advantages(rewards, values, none, torch.zeros(2, 1), torch.tensor([8.0]), 0.5, 1.0)
    assert found.flatten().tolist() == [1 + 0.5 * 2 + 0.25 * 8 - 0.5, 2 + 0.5 * 8 - 0.25]


def test_an_end_stops_the_sum_and_a_time_limit_adds_the_last_value() -> None:
    rewards, values = torch.ones(2, 2), torch.zeros(2, 2)
    ended = torch.tensor([[True, True], [False, False]])
    final = torch.tensor([[0.0, 10.0], [0.0, 0.0]])
    found = generalised_advantages(rewards, values, ended, final, torch.zeros(2), 0.9, 0.95)
    assert torch.allclose(found, torch.tensor([[1.0, 10.0], [1.0, 1.0]]))
