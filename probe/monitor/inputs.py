"""What a network is given in memory: one tensor, or several side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.errors import ShapeError, UnknownNameError
from probe.files import tensor_digest
from probe.observations import ObservationSet

Part = Tensor | NDArray[Any]
Inputs = Part | Sequence[Part] | Mapping[str, Part]
"""A tensor, a tuple of them (positional arguments), or a mapping (keyword arguments); the first axis is the batch."""


class HeldObservations(ObservationSet):
    """Observations in memory, as the network takes them. A batch is row numbers; `rows` looks them up.

    So one tensor stands for a batch whatever the network takes, and every probe can cut and join batches.
    """

    def __init__(self, inputs: Inputs) -> None:
        """Copies the inputs, so that a buffer that is filled anew changes nothing.

        Args:
            inputs: Arrays become tensors of the same type.

        Raises:
            ShapeError: there are no rows, or the parts have different numbers of them.
        """
        self._parts = _named(inputs)
        self._single, self._mapping = isinstance(inputs, Tensor | np.ndarray), isinstance(inputs, Mapping)
        counts = {name: len(part) for name, part in self._parts.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ShapeError(
                f"Observations must have the same number of rows in every part, at least one; got {counts}."
            )
        digest = tensor_digest({name: _bytes(part) for name, part in self._parts.items()}, {})
        attributes = {"sha256": digest, "task": 0, "kind": "pooled", "environment": ""}
        super().__init__(Path("memory"), next(iter(counts.values())), (), attributes)

    @property
    def _values(self) -> int:
        return sum(part[0].numel() for part in self._parts.values())

    def batches(self, batch_size: int, samples: int | None = None) -> Iterator[Tensor]:
        """Yields row numbers, int64 (batch,); fewer `samples` are spread evenly, as in a file."""
        total = self.samples if samples is None else min(samples, self.samples)
        numbers = torch.arange(total) * self.samples // total
        for start in range(0, total, batch_size):
            yield numbers[start : start + batch_size]

    def rows(self, numbers: Tensor, device: torch.device) -> Any:
        """Returns rows in the form that was given: a tensor, a tuple or a dict, on a device."""
        chosen = {name: part[numbers].to(device) for name, part in self._parts.items()}
        if self._mapping:
            return chosen
        return chosen[""] if self._single else tuple(chosen.values())

    def column(self, name: str) -> NDArray[Any]:
        """Returns `returns`, all unknown, or `episodes`, as if all were of one; what is held has no other column.

        Raises:
            UnknownNameError: another column is asked for.
        """
        if name == "returns":
            return np.full(self.samples, np.nan, np.float32)
        if name == "episodes":
            return np.zeros(self.samples, np.int64)
        raise UnknownNameError("column of observations in memory", name, ["returns", "episodes"])


def _named(inputs: Inputs) -> dict[str, Tensor]:
    if isinstance(inputs, Tensor | np.ndarray):
        return {"": _tensor(inputs)}
    parts = inputs.items() if isinstance(inputs, Mapping) else ((str(index), each) for index, each in enumerate(inputs))
    return {name: _tensor(part) for name, part in parts}


def _tensor(part: Part) -> Tensor:
    if isinstance(part, Tensor):
        return part.detach().cpu().clone()
    return torch.from_numpy(np.array(part))


def _bytes(part: Tensor) -> NDArray[Any]:
    return part.contiguous().reshape(-1).view(torch.uint8).numpy()
