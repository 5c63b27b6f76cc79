"""Outputs by name and their differences: known divergences, second formulas, splits into batches, edges."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.outputs import Differences, disagreement, discrete, divergence, named_outputs, returned_values, stacked
from probe.probes.base import Reading


def logits(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def by_metric(readings: list[Reading]) -> dict[str, Reading]:
    return {reading.metric: reading for reading in readings}


def test_a_critic_is_asked_for_the_state_or_for_the_stored_action() -> None:
    states, actions = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    chosen = discrete(np.array([1, 0], np.int16))
    assert chosen is not None
    for found, expected in ((returned_values(states, None), [1, 2]), (returned_values(actions, chosen), [2, 3])):
        assert found is not None and found.tolist() == expected
    assert returned_values(actions, None) is None and returned_values(actions, chosen + 1) is None
    assert discrete(np.array([[1], [0]])) is None and discrete(np.array([0.5, 1.0])) is None


def differences(first: dict[str, Tensor], second: dict[str, Tensor], cuts: tuple[int, ...] = ()) -> Differences:
    found = Differences()
    edges = [0, *cuts, len(next(iter(first.values())))]
    for start, end in pairwise(edges):
        found.update(*({name: each[start:end] for name, each in side.items()} for side in (first, second)))
    return found


def test_the_known_divergence_in_nats() -> None:
    assert divergence(logits(0.5, 0.5), logits(0.9, 0.1)).item() == pytest.approx(0.510826, abs=1e-6)


def test_the_divergence_is_directed() -> None:
    backwards = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert divergence(logits(0.9, 0.1), logits(0.5, 0.5)).item() == pytest.approx(backwards, rel=1e-12)


def test_the_divergence_is_pytorchs() -> None:
    first, second = torch.randn(2, 50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = nn.functional.kl_div(
        second.log_softmax(-1), first.log_softmax(-1), reduction="batchmean", log_target=True
    )
    assert divergence(first, second).mean().item() == pytest.approx(expected.item(), rel=1e-12)


def test_an_impossible_action_adds_nothing() -> None:
    assert divergence(logits(1.0, 0.0), logits(0.5, 0.5)).item() == pytest.approx(math.log(2))


def test_identical_networks_differ_in_nothing_and_flipped_actions_in_everything() -> None:
    given = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    same = by_metric(differences({"actor": given}, {"actor": given}).readings()["actor"])
    assert {reading.value for reading in same.values()} == {0.0}
    flipped = by_metric(differences({"actor": given}, {"actor": given.flip(1)}).readings()["actor"])
    assert flipped["action_disagreement"].value == 1.0


def test_a_shift_of_all_logits_moves_no_policy() -> None:
    given = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    found = by_metric(differences({"actor": given}, {"actor": given + 3}).readings()["actor"])
    assert found["kl"].value == pytest.approx(0, abs=1e-12) and found["action_disagreement"].value == 0
    assert found["mean_change"].value == pytest.approx(3, rel=1e-6)


def test_of_equal_outputs_the_first_is_greedy() -> None:
    assert disagreement(torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 1.0]])) == 0


def test_values_have_neither_policy_nor_actions() -> None:
    found = differences({"critic": torch.zeros(4, 1)}, {"critic": torch.tensor([[1.0], [-1.0], [3.0], [0.0]])})
    assert found.readings()["critic"] == [Reading("mean_change", 1.25), Reading("max_change", 3.0)]


def test_a_nan_makes_every_reading_null() -> None:
    found = differences({"critic": torch.zeros(2, 1)}, {"critic": torch.tensor([[1.0], [math.nan]])})
    assert {(each.value, each.status) for each in found.readings()["critic"]} == {(None, "nonfinite")}


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 29), unique=True).map(sorted), seed=st.integers(0, 99))
def test_any_split_into_batches_gives_the_same_readings(cuts: list[int], seed: int) -> None:
    first, second = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(seed))
    whole = differences({"actor": first}, {"actor": second}).readings()["actor"]
    split = differences({"actor": first}, {"actor": second}, tuple(cuts)).readings()["actor"]
    assert [each.value for each in split] == pytest.approx([each.value for each in whole], rel=1e-12)


class Several(nn.Module):
    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return batch, batch.sum(1)


def test_any_networks_outputs_get_names() -> None:
    batch = torch.ones(3, 2)
    assert list(named_outputs(nn.Identity(), batch)) == ["output"]
    several = named_outputs(Several(), batch)
    assert {name: tuple(each.shape) for name, each in several.items()} == {"output0": (3, 2), "output1": (3, 1)}
    assert stacked(several).tolist() == [[1.0, 1.0, 2.0]] * 3
