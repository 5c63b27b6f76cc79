"""Sizes of a layer's output and input: norms of every sample, summed over the pass that a checkpoint's probes share."""

from dataclasses import dataclass, field
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from probe.capture import Layer, unit_axis
from probe.passes import Observer
from probe.statistics.sums import PARTIAL_VALUES

_LEAST_SQUARES = 1e-30
"""A smaller sum of squares may have lost digits to the end of float32's range."""


@dataclass
class LayerSizes:
    """Sums over samples of a nonlinearity's input and output."""

    layer: Layer
    samples: int = 0
    units: int = 0
    values: dict[str, int] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, values: Float[Tensor, "batch ..."]) -> None:
        """Adds the L2 norms and squared norms of a batch."""
        squared = squared_norms(values)
        self.values[name] = self.values.get(name, 0) + values.numel()
        self.norms[name] = self.norms.get(name, 0.0) + squared.sqrt().sum().item()
        self.squares[name] = self.squares.get(name, 0.0) + squared.sum().item()

    def rms(self, name: str) -> float:
        """Root mean square over samples, units and positions."""
        return sqrt(self.squares[name] / self.values[name])

    def mean_norm(self, name: str) -> float:
        """Mean over samples of the L2 norm."""
        return self.norms[name] / self.samples


def squared_norms(values: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    """Returns each sample's squared L2 norm, float64: float32 sums over at most 256 squares, added up in float64.

    In float64 throughout where float32 cannot hold the squares.
    """
    # Channels-last maps are rows already, with the channels inside.
    rows = values.flatten(1) if values.is_contiguous() else values.movedim(1, -1).flatten(1)
    rows = rows if rows.dtype == torch.float64 else rows.float()
    whole = rows.shape[1] // PARTIAL_VALUES * PARTIAL_VALUES
    parts = [rows[:, :whole].reshape(len(rows), -1, PARTIAL_VALUES), rows[:, None, whole:]]
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for part in parts:
        if part.numel():
            total += torch.linalg.vector_norm(part, dim=-1).double().square().sum(dim=1)
    held = bool(((total > _LEAST_SQUARES) & total.isfinite()).all())
    return total if held else rows.double().square().sum(dim=1)


class SizesObserver(Observer):
    """Keeps the sizes of every nonlinearity, in call order."""

    reads_pre_activations = True

    def __init__(self) -> None:
        """Starts empty."""
        self._sizes: dict[str, LayerSizes] = {}

    def see_layer(self, layer: Layer, output: Tensor, pre_activation: Tensor | None) -> None:
        """Adds a batch of one layer."""
        sizes = self._sizes.setdefault(layer.id, LayerSizes(layer))
        sizes.samples += len(output)
        sizes.units = output.shape[unit_axis(output)]
        sizes.add("feature", output)
        if pre_activation is not None:
            sizes.add("preactivation", pre_activation)

    @property
    def sizes(self) -> list[LayerSizes]:
        """The sizes in call order."""
        return sorted(self._sizes.values(), key=lambda each: each.layer.position)
