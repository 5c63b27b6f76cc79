"""What the episodes came to that ended while an agent played."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from probe.trainers.base import Metrics

PLAYED = ("return/train", "episode/length", "return/recent")
"""Means over the episodes of an update, and the mean return of the last `_EPISODES` on the task once there are any."""
_EPISODES = 20


class PlayedEpisodes:
    """Gathers returns and lengths, update by update."""

    def __init__(self) -> None:
        """Starts with no episode."""
        self.ended: tuple[float, ...] = ()
        """Returns of the episodes that ended in the last update."""
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._recent: deque[float] = deque(maxlen=_EPISODES)

    def add(self, infos: Mapping[str, Any]) -> None:
        """Takes the episodes that ended with a decision."""
        if "episode" in infos:
            played, ended = infos["episode"], infos["_episode"]
            self._returns += played["r"][ended].tolist()
            self._lengths += played["l"][ended].tolist()

    def metrics(self) -> Metrics:
        """Returns the values of `PLAYED` for what has been added since the last time."""
        means = [sum(values) / len(values) if values else None for values in (self._returns, self._lengths)]
        self._recent.extend(self._returns)
        self.ended = tuple(self._returns)
        recent = sum(self._recent) / _EPISODES if len(self._recent) == _EPISODES else None
        self._returns, self._lengths = [], []
        return dict(zip(PLAYED, (*means, recent), strict=True))

    def restart(self) -> None:
        """Forgets the episodes of the task before."""
        self._recent.clear()

    def get_state(self) -> list[float]:
        """Returns the last returns."""
        return list(self._recent)

    def set_state(self, state: list[float]) -> None:
        """Continues where `get_state` was called, between two updates."""
        self._returns, self._lengths = [], []
        self._recent = deque(state, maxlen=_EPISODES)
