"""What is learnt from is what happened: against a list of every observation that keeps everything."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probe.trainers.replay import Replay, Transitions

SIDE, STACK, GAMMA = 2, 3, 0.5


@dataclass
class History:
    """One environment's decisions as plain lists, and a replay that is told of them."""

    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def outcome(self, time: int, steps: int) -> tuple[float, float, np.ndarray | None] | None:
        """Returns return, discount and next observation by the definition, or None where nothing is to be learnt."""
        total, factor = 0.0, 1.0
        for ahead in range(time, time + steps):
            led_on = self.ends[ahead] == "" and ahead + 1 < len(self.ends)
            if not led_on and self.ends[ahead] != "terminated":
                return (total, factor, self.observations[ahead]) if ahead > time else None
            total += factor * self.rewards[ahead]
            factor *= GAMMA
            if self.ends[ahead] == "terminated":
                return total, 0.0, None
        return total, factor, self.observations[time + steps]


def played(rng: np.random.Generator, decisions: int, environments: int, capacity: int) -> tuple[Replay, list[History]]:
    """Plays made-up frames, each different from all others, in episodes of a few decisions."""
    replay = Replay(capacity, environments, (SIDE, SIDE, STACK), np.dtype(np.uint8), STACK, rows_per_file=7)
    histories = [History() for _ in range(environments)]
    stacks = np.zeros((environments, SIDE, SIDE, STACK), np.uint8)
    starts = np.ones(environments, bool)
    for _ in range(decisions):
        frames = rng.integers(256, size=(environments, SIDE, SIDE, 1), dtype=np.uint8)
        stacks = np.concatenate((stacks[..., 1:], frames), axis=-1)
        stacks[starts] = np.repeat(frames[starts], STACK, axis=-1)
        actions, rewards = rng.integers(18, size=environments), rng.normal(size=environments).astype(np.float32)
        terminated = rng.random(environments) < 0.15
        truncated = (rng.random(environments) < 0.15) & ~terminated
        replay.add(stacks, actions, rewards, terminated, truncated)
        for k, history in enumerate(histories):
            history.observations.append(stacks[k].copy())
            history.actions.append(int(actions[k]))
            history.rewards.append(float(rewards[k]))
            history.ends.append("terminated" if terminated[k] else "cut" if truncated[k] else "")
        starts = terminated | truncated
    return replay, histories


@pytest.mark.parametrize(("environments", "capacity"), [(1, 30), (3, 60)])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_sample_is_what_happened(environments: int, capacity: int, steps: int) -> None:
    replay, histories = played(np.random.default_rng(0), 45, environments, capacity)
    batch = replay.sample(600, steps, GAMMA, torch.Generator().manual_seed(0))
    oldest = 45 - capacity // environments
    known = {}
    for history in histories:
        for time in range(oldest, 45):
            expected = history.outcome(time, steps)
            if expected is not None:
                known[history.observations[time].tobytes()] = (history.actions[time], *expected)
    seen = set()
    for row in range(600):
        key = batch.observations[row].contiguous().numpy().tobytes()
        action, total, discount, following = known[key]
        seen.add(key)
        assert batch.actions[row] == action
        assert batch.rewards[row].item() == pytest.approx(total, abs=1e-6)
        assert batch.discounts[row].item() == pytest.approx(discount)
        if following is not None:
            np.testing.assert_array_equal(batch.next_observations[row].numpy(), following)
    assert seen == set(known), "every decision of which the outcome is known comes up, and no other"


def test_vectors_are_stored_as_they_are() -> None:
    replay = Replay(10, 2, (4,), np.dtype(np.float32), 1)
    given = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    for observations in given:
        no = np.zeros(2, bool)
        replay.add(observations, np.zeros(2, np.int64), np.ones(2, np.float32), no, no)
    batch = replay.sample(50, 1, 0.9, torch.Generator().manual_seed(0))
    assert {tuple(row) for row in batch.observations.tolist()} == {tuple(row) for row in given[:2].reshape(4, 4)}
    assert torch.equal(batch.next_observations, batch.observations + 8)
    assert (batch.discounts == np.float32(0.9)).all() and (batch.rewards == 1).all()


def test_samples_are_uniform() -> None:
    replay, _ = played(np.random.default_rng(1), 40, 1, 20)
    batch = replay.sample(4000, 1, GAMMA, torch.Generator().manual_seed(0))
    counts = np.unique(batch.observations.flatten(1).numpy(), axis=0, return_counts=True)[1]
    expected = 4000 / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < 45, "chi-squared, 99.9 % quantile for 20 degrees of freedom"


def test_a_shift_that_changes_how_frames_are_shown_leaves_out_mixed_stacks() -> None:
    replay = Replay(20, 1, (1, 1, STACK), np.dtype(np.uint8), STACK)
    no = np.zeros(1, bool)

    def show(*stack: int) -> None:
        replay.add(
            np.array(stack, np.uint8).reshape(1, 1, 1, STACK), np.zeros(1, np.int64), np.zeros(1, np.float32), no, no
        )

    for time in range(4):
        show(max(0, time - 2), max(0, time - 1), time)
    replay.cut(new_episodes=False)
    show(102, 103, 50)  # the frames before the shift are now shown otherwise
    show(103, 50, 51)
    show(50, 51, 52)
    show(51, 52, 53)
    batch = replay.sample(200, 1, 1.0, torch.Generator().manual_seed(0))
    pairs = {
        (tuple(one.flatten().tolist()), tuple(other.flatten().tolist()))
        for one, other in zip(batch.observations, batch.next_observations, strict=True)
    }
    assert pairs == {
        ((0, 0, 0), (0, 0, 1)), ((0, 0, 1), (0, 1, 2)), ((0, 1, 2), (1, 2, 3)), ((50, 51, 52), (51, 52, 53))
    }  # fmt: skip


def test_spread_observations_cover_what_is_stored() -> None:
    replay, histories = played(np.random.default_rng(2), 30, 1, 12)
    stored = histories[0].observations[-12:]
    np.testing.assert_array_equal(replay.spread(100).numpy(), np.stack(stored))
    np.testing.assert_array_equal(replay.spread(4).numpy(), np.stack(stored[::3]))
    assert len(replay) == 12


def test_each_kept_state_resumes_and_draws_the_same(tmp_path: Path) -> None:
    def made() -> Replay:
        replay = Replay(12, 1, (SIDE, SIDE, STACK), np.dtype(np.uint8), STACK, rows_per_file=5)
        replay.store_in(tmp_path)
        return replay

    def drawn(replay: Replay, seed: int) -> Transitions:
        return replay.sample(64, 2, GAMMA, torch.Generator().manual_seed(seed))

    kept: dict[int, tuple[dict[str, Any], Transitions]] = {}
    rng, replay = np.random.default_rng(3), made()
    for step in range(1, 71):
        stack = rng.integers(256, size=(1, SIDE, SIDE, STACK), dtype=np.uint8)
        replay.add(stack, np.array([step % 3]), np.ones(1, np.float32), np.array([step % 9 == 0]), np.zeros(1, bool))
        if step % 3:
            continue
        kept[step] = (replay.get_state(), drawn(replay, step))
        # The newest two, and one that is kept for good.
        kept = {each: found for each, found in kept.items() if each in (30, *sorted(kept)[-2:])}
        replay.keep_for(kept)
        for each, (state, expected) in kept.items():
            resumed = made()
            resumed.set_state(state)
            again = drawn(resumed, each)
            assert all(torch.equal(getattr(again, name), tensor) for name, tensor in vars(expected).items())
    assert len(list(tmp_path.iterdir())) <= 9, "what no state needs has gone"
