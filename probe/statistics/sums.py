"""One batch of a layer's output -> per-unit sums, counts and extremes, in one pass over the output.

Sums are float32 over at most 256 values and float64 above that; counts are exact. So a sum of values of one sign has a
relative error below 256 * 2**-24 = 1.5e-5 in the worst case, and near 1e-7 as a rule. Float64 outputs are summed in
float64.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

PARTIAL_ROWS = 256
"""Values that are added up in the output's own precision before float64 takes over."""
ADDITIVE = ("total", "total_abs", "total_square", "positive", "zero")
QUANTITIES = (*ADDITIVE, "minimum", "maximum")
"""The rows of a table of sums."""

Table = Float[NDArray[np.float64], "quantity unit"]


def empty_table(units: int) -> NDArray[np.float64]:
    """Returns the sums over nothing: (quantity, unit)."""
    table = np.zeros((len(QUANTITIES), units))
    table[-2], table[-1] = np.inf, -np.inf
    return table


def combine(first: Table, second: Table) -> Table:
    """Returns the sums over the values behind both tables; NaN stays NaN."""
    added = first[:-2] + second[:-2]
    return np.concatenate([added, np.minimum(first[-2:-1], second[-2:-1]), np.maximum(first[-1:], second[-1:])])


def positions_last(output: Float[Tensor, "batch ..."]) -> bool:
    """Whether the values of one unit lie side by side in memory: (batch, channel, height, width), contiguous."""
    return output.ndim >= 4 and output.is_contiguous()


def as_rows(output: Tensor) -> Float[Tensor, "batch position unit"]:
    """Views an output as (batch, position, unit).

    Units are the second axis of (batch, channel, height, width) and the last of (batch, unit) and (batch, time, unit).
    """
    if output.ndim >= 4:
        return output.flatten(2).transpose(1, 2)
    return output.reshape(len(output), -1, output.shape[-1])


def batch_sums(output: Float[Tensor, "batch ..."]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns a batch's table of sums (quantity, unit) and each sample's sum over positions (batch, unit)."""
    values = output.detach()
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    return eager_sums(as_rows(values))


def eager_sums(values: Float[Tensor, "batch position unit"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The form in PyTorch's own operations: any device, float32 or float64."""
    blocks = torch.split(values, PARTIAL_ROWS, dim=1)
    per_sample = torch.stack([block.sum(1) for block in blocks]).double().sum(0)
    table = torch.stack(
        [
            per_sample.sum(0),
            torch.stack([block.abs().sum(1) for block in blocks]).double().sum((0, 1)),
            torch.stack([block.square().sum(1) for block in blocks]).double().sum((0, 1)),
            (values > 0).sum((0, 1)).double(),
            (values == 0).sum((0, 1)).double(),
            values.amin((0, 1)).double(),
            values.amax((0, 1)).double(),
        ]
    )
    return table.cpu().numpy(), per_sample.cpu().numpy()
