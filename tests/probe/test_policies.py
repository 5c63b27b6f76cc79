"""Outputs -> actions."""

from math import log

import torch

from probe.policies import act, entropy, greedy, log_probabilities, sample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_greedy_takes_the_largest_logit() -> None:
    assert greedy(torch.tensor([[0.0, 2.0, 1.0], [3.0, 1.0, 0.0]])).tolist() == [1, 0]


def test_samples_follow_the_softmax() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]])).expand(20_000, 3)
    shares = torch.bincount(sample(logits, generator()), minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.2, 0.1]), atol=0.015, rtol=0)


def test_the_generator_decides() -> None:
    outputs = {"actor": torch.zeros(50, 4)}
    assert torch.equal(act(outputs, "sample", generator(1)), act(outputs, "sample", generator(1)))
    assert not torch.equal(act(outputs, "sample", generator(1)), act(outputs, "sample", generator(2)))


def test_log_probabilities_and_entropy_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]])) + 3.0
    torch.testing.assert_close(log_probabilities(logits, torch.tensor([1])), torch.tensor([log(0.25)]))
    torch.testing.assert_close(entropy(logits), torch.tensor([1.5 * log(2)]))
