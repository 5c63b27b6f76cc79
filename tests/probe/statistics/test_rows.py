"""Rows of a feature matrix: how far apart they are chosen, in which half, and how alike neighbours are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.statistics.rows import halves_by_group, row_autocorrelation, rows_apart
from tests.probe.probes.test_signal import noise, stream


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.integers(0, 100))
def test_halves_never_share_an_episode_and_differ_by_one_episode_at_most(episodes: list[int], seed: int) -> None:
    groups = torch.tensor(episodes)
    first = halves_by_group(groups, stream(seed))
    sizes = np.bincount(episodes)
    if (sizes > 0).sum() < 2:
        assert first is None
        return
    assert first is not None and first.any() and not first.all()
    assert not set(groups[first].tolist()) & set(groups[~first].tolist())
    assert abs(int(first.sum()) - int((~first).sum())) <= sizes.max()


def test_autocorrelation_is_one_for_still_rows_and_zero_for_independent_ones() -> None:
    groups = torch.arange(400) // 20
    still = noise(20, 3).repeat_interleave(20, 0)
    assert row_autocorrelation(still, groups) == pytest.approx(1, abs=0.01)
    assert row_autocorrelation(noise(400, 3), groups) == pytest.approx(0, abs=0.1)
    mixed = torch.randperm(400, generator=stream())
    assert row_autocorrelation(still, torch.arange(400)) is None
    # Rows of episodes that were stored in turn are paired within their episode.
    assert row_autocorrelation(noise(20, 3).repeat(20, 1), torch.arange(400) % 20) == pytest.approx(1, abs=0.01)
    assert row_autocorrelation(still[mixed], groups[mixed]) == pytest.approx(1, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(1, 6), st.integers(1, 30))
def test_rows_lie_a_spacing_apart_within_their_episode_and_are_the_most_that_do(
    episodes: list[int], spacing: int, most: int
) -> None:
    groups = torch.tensor(episodes)
    found = rows_apart(groups, spacing, most)
    assert found.tolist() == sorted(set(found.tolist())) and len(found) <= most
    for group in set(episodes):
        places = torch.isin((groups == group).nonzero()[:, 0], found).nonzero()[:, 0]
        assert bool((places.diff() >= spacing).all())
    assert len(found) == -(-len(groups) // max(spacing, -(-len(groups) // most)))


def test_rows_of_episodes_that_were_stored_in_turn_come_from_all_and_from_all_their_parts() -> None:
    groups = torch.arange(240) % 6
    found = rows_apart(groups, 4, 1000)
    assert torch.bincount(groups[found]).tolist() == [10] * 6
    assert (found // 6).float().mean().item() == pytest.approx(19.5, abs=3)
