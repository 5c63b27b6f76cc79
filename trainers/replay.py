"""Experience replay: transitions of the past, each frame stored once."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from probe.arrays import NDArray
from probe.trainers.rollout import Batch
from probe.trainers.row_log import RowLog

_OLDEST_AGE = 255
_FILES = 8
"""At least so many hold what is learnt from, so that little more than that is kept."""

Places = Int64[NDArray[np.int64], "batch"]


@dataclass(frozen=True)
class Transitions(Batch):
    """Decisions, what came of them within n decisions, and where that led."""

    actions: Int[Tensor, "batch"]
    rewards: Float[Tensor, "batch"]
    """Sum of the discounted rewards of up to n decisions."""
    discounts: Float[Tensor, "batch"]
    """Of the value of `next_observations`: gamma to the number of those decisions, 0 where the episode ended."""
    next_observations: Tensor
    """As stored, like `observations`."""

    def to(self, device: torch.device) -> "Transitions":
        """Returns the transitions on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class _Outcomes:
    """What the decisions from some rows on came to: (batch, decision)."""

    counted: NDArray[np.bool_]
    """Whether a decision's reward belongs to the return; of a row that is not to be learnt from, none does."""
    rewards: NDArray[np.float32]
    ended: NDArray[np.bool_]
    """(batch,) whether the episode ends within."""


class Replay:
    """The last `capacity` decisions of several environments that are stepped together.

    A row holds, for each environment, the newest frame of what was decided on, the decision and its reward. Stacks are
    put together from rows when they are asked for; an episode begins with copies of its first frame. Where a time limit
    or a task shift cut an episode off, its last decision is not learnt from, since what it led to is not stored, and
    returns over several decisions end one decision before.
    """

    def __init__(
        self,
        capacity: int,
        environments: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        frame_stack: int,
        rows_per_file: int | None = None,
    ) -> None:
        """Starts empty, in memory.

        Args:
            capacity: decisions to learn from, summed over the environments.
            environments: how many are stepped together.
            shape: of an observation, with the stack on the last axis.
            dtype: of an observation.
            frame_stack: frames in an observation.
            rows_per_file: decisions of each environment in a file; None for an eighth of all, or fewer.
        """
        self.rows, self.environments, self.stack = -(-capacity // environments), environments, frame_stack
        self._channels = shape[-1] // frame_stack
        frame = (environments, *shape[:-1], self._channels)
        row = np.dtype(
            [
                ("frame", dtype, frame),
                ("action", np.int16, (environments,)),
                ("reward", np.float32, (environments,)),
                ("terminated", np.bool_, (environments,)),
                ("age", np.uint8, (environments,)),  # decisions since the episode began, as far as a stack may reach
                ("whole", np.bool_, (environments,)),  # whether the stack is the one that was decided on
            ]
        )
        self._log = RowLog(row, rows_per_file or max(1, self.rows // _FILES))
        self._row = np.zeros((), row)
        self._ages = np.zeros(environments, np.uint8)
        self._broken = 0
        """Decisions for which stacks will still hold frames that were shown otherwise."""

    def store_in(self, folder: Path) -> None:
        """Maps what is stored into files of a folder; nothing has been stored yet."""
        self._log.store_in(folder)

    def borrow(self, folder: Path) -> None:
        """Reads what another replay has stored in a folder, and never changes it; what is added goes to memory."""
        self._log.borrow(folder)

    def __len__(self) -> int:
        """Returns the number of decisions that can be learnt from."""
        return min(self._log.written, self.rows) * self.environments

    def add(
        self,
        observations: NDArray[Any],
        actions: NDArray[np.int64],
        rewards: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Stores a decision of every environment.

        Args:
            observations: (environment, ...) what was decided on.
            actions: (environment,) what was decided.
            rewards: (environment,) that came of it.
            terminated: (environment,) whether the episode ended with it.
            truncated: (environment,) whether it was cut off after it.
        """
        row = self._row
        row["frame"] = observations[..., -self._channels :]
        row["action"], row["reward"], row["terminated"] = actions, rewards, terminated
        row["age"], row["whole"] = self._ages, self._broken == 0
        self._log.append(row)
        older = np.minimum(self._ages, _OLDEST_AGE - 1) + 1
        self._ages = np.where(terminated | truncated, 0, older).astype(np.uint8)
        self._broken = max(0, self._broken - 1)

    def cut(self, new_episodes: bool) -> None:
        """Says that what was stored last did not lead to what is stored next.

        Args:
            new_episodes: whether new episodes begin; else the frames so far are shown otherwise from now on.
        """
        self._ages[:] = 0
        self._broken = 0 if new_episodes else self.stack - 1

    def sample(self, count: int, steps: int, gamma: float, rng: torch.Generator) -> Transitions:
        """Draws transitions, each with the same probability, with replacement.

        Args:
            count: how many; at least one that can be learnt from is stored.
            steps: most decisions whose rewards are summed.
            gamma: discount per decision.
            rng: what the draws are from.
        """
        rows, columns = self._draw(count, rng)
        found = self._outcomes(rows, columns, steps)
        while not (learnable := found.counted[:, 0]).all():
            again = np.flatnonzero(~learnable)
            rows[again], columns[again] = self._draw(len(again), rng)
            found = self._outcomes(rows, columns, steps)
        reached = found.counted.sum(axis=1)
        discounted = np.where(found.counted, found.rewards, 0) * gamma ** np.arange(steps)
        discounts = np.where(found.ended, 0, gamma**reached)
        both = self._observations(np.concatenate((rows, rows + reached)), np.tile(columns, 2))
        return Transitions(
            observations=both[:count],
            actions=torch.from_numpy(self._log.read("action", rows, columns).astype(np.int64)),
            rewards=torch.from_numpy(discounted.sum(axis=1).astype(np.float32)),
            discounts=torch.from_numpy(discounts.astype(np.float32)),
            next_observations=both[count:],
        )

    def _draw(self, count: int, rng: torch.Generator) -> tuple[Places, Places]:
        places = torch.randint(len(self), (count,), generator=rng).numpy()
        return self._first + places // self.environments, places % self.environments

    @property
    def _first(self) -> int:
        return max(0, self._log.written - self.rows)

    def _outcomes(self, rows: Places, columns: Places, steps: int) -> _Outcomes:
        last = self._log.written - 1
        window = np.minimum(rows[:, None] + np.arange(steps + 1), last)
        across = np.broadcast_to(columns[:, None], window.shape)
        terminated = self._log.read("terminated", window, across)[:, :-1]
        stored = rows[:, None] + np.arange(1, steps + 1) <= last
        # The next row goes on where this one led to, unless a new episode begins with it.
        follows = ~terminated & stored & (self._log.read("age", window, across)[:, 1:] > 0)
        before = np.cumprod(np.pad(follows[:, :-1], ((0, 0), (1, 0)), constant_values=True), axis=1).astype(np.bool_)
        counted = before & (terminated | follows) & self._log.read("whole", rows, columns)[:, None]
        rewards = self._log.read("reward", window, across)[:, :-1]
        return _Outcomes(counted, rewards, (counted & terminated).any(axis=1))

    def _observations(self, rows: Places, columns: Places) -> Tensor:
        """Puts stacks together; on rows whose observation is of no use, some stack or other."""
        rows = np.minimum(rows, self._log.written - 1)
        ages = self._log.read("age", rows, columns).astype(np.int64)
        back = np.minimum(np.arange(self.stack)[::-1], ages[:, None])
        stacked = np.maximum(rows[:, None] - back, 0)
        frames = torch.from_numpy(self._log.read("frame", stacked, np.broadcast_to(columns[:, None], back.shape)))
        # In memory as in a set, with the stack last: the layout that convolutions are fastest in.
        return frames.movedim(1, -2).flatten(-2).contiguous()

    def spread(self, count: int) -> Tensor:
        """Returns the observations of decisions evenly spread over those that are stored; at most as many as these."""
        places = np.arange(min(count, len(self)), dtype=np.int64) * len(self) // max(1, min(count, len(self)))
        return self._observations(self._first + places // self.environments, places % self.environments)

    def keep_for(self, steps: Iterable[int]) -> None:
        """Drops what neither the next samples need nor those after a resume.

        Args:
            steps: decisions, summed over the environments, after which the states were saved that are kept.
        """
        ends = (*(step // self.environments for step in steps), self._log.written)
        self._log.keep(range(self._reach(end), end + 1) for end in ends)

    def _reach(self, end: int) -> int:
        """Returns the first row that a sample can read when so many rows have been written."""
        return max(0, end - self.rows - self.stack)

    def get_state(self) -> dict[str, Any]:
        """Returns what says where the stored rows end, and their digests; the rows stay where they are."""
        log = self._log.get_state(since=self._reach(self._log.written))
        return {**log, "ages": torch.from_numpy(self._ages.copy()), "broken": self._broken}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues where `get_state` was called.

        Raises:
            FileError: the rows that were stored until then are not there.
        """
        self._log.set_state(state)
        self._ages, self._broken = state["ages"].numpy().copy(), state["broken"]
