"""Spikes: how far a value lies from what it was over the last updates."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from probe.trainers.base import Metrics

SPIKE = 10.0
"""Robust standard deviations from which a value counts as a spike. Ours, not sourced."""
PREFIX = "spike/"
_KEPT, _LEAST = 50, 10
_NORMAL = 1.4826
"""Standard deviation of normal numbers over their median absolute deviation."""


def deviations(value: int | float, earlier: Sequence[int | float]) -> float | None:
    """Returns how many robust standard deviations a value lies above the median of earlier ones.

    None below `_LEAST` of them, or where more than half of them are equal. One spike hardly moves median and deviation.
    """
    if len(earlier) < _LEAST:
        return None
    middle = median(earlier)
    scale = _NORMAL * median(abs(each - middle) for each in earlier)
    return (value - middle) / scale if scale > 0 else None


class Spikes:
    """Follows metrics update by update."""

    def __init__(self, names: Iterable[str]) -> None:
        """Takes the names of the metrics; nothing is known of them yet."""
        self._earlier: dict[str, deque[float]] = {name: deque(maxlen=_KEPT) for name in names}
        self.columns = tuple(f"{PREFIX}{name}" for name in self._earlier)

    def of(self, metrics: Mapping[str, float | None]) -> Metrics:
        """Returns the deviations of an update's values, by `columns`."""
        found: Metrics = {}
        for name, earlier in self._earlier.items():
            value = metrics.get(name)
            if value is not None:
                found[f"{PREFIX}{name}"] = deviations(value, earlier)
                earlier.append(value)
        return found

    def get_state(self) -> dict[str, list[float]]:
        """Returns the values that are kept, by name."""
        return {name: list(earlier) for name, earlier in self._earlier.items()}

    def set_state(self, state: Mapping[str, list[float]]) -> None:
        """Continues where `get_state` was called."""
        self._earlier = {name: deque(state[name], maxlen=_KEPT) for name in self._earlier}
