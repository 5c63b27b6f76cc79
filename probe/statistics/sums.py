"""One batch of a layer's output -> per-unit sums, counts and extremes, in one pass over the output.

Sums are float32 over at most 256 values and float64 above that; counts are exact. So a sum of values of one sign has a
relative error below 256 * 2**-24 = 1.5e-5 in the worst case, and near 1e-7 as a rule. Float64 outputs are summed in
float64. The compiled form (numba, extra `fast`) and the eager one agree within this.
"""

from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probe.arrays import NDArray
from probe.kernels import kernels

PARTIAL_VALUES = 256
"""Values that are added up in the output's own precision before float64 takes over."""
ADDITIVE = ("total", "total_abs", "total_square", "positive", "zero")
QUANTITIES = (*ADDITIVE, "minimum", "maximum")
"""The rows of a table of sums."""
_CHUNK = 2**18
"""Values whose squares and signs the eager form holds at a time: 1 MB each, which stays in a core's cache."""

Sums = tuple[NDArray[np.float64], NDArray[np.float64]]
"""The table of sums (quantity, unit), and each sample's sum over positions (batch, unit)."""


def empty_table(units: int) -> Float[NDArray[np.float64], "quantity unit"]:
    """Returns the sums over nothing."""
    table = np.zeros((len(QUANTITIES), units))
    table[-2], table[-1] = np.inf, -np.inf
    return table


def combine(
    first: Float[NDArray[np.float64], "quantity unit"], second: Float[NDArray[np.float64], "quantity unit"]
) -> Float[NDArray[np.float64], "quantity unit"]:
    """Returns the sums over the values behind both tables; NaN stays NaN."""
    added = first[:-2] + second[:-2]
    return np.concatenate([added, np.minimum(first[-2:-1], second[-2:-1]), np.maximum(first[-1:], second[-1:])])


def batch_sums(output: Float[Tensor, "batch ..."]) -> Sums:
    """Returns the sums of a non-empty batch.

    Units are the second axis of (batch, channel, height, width) and the last one of (batch, unit) and (batch, time,
    unit); the other axes are positions.
    """
    values = output.detach()
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    compiled = values.dtype == torch.float32 and values.device.type == "cpu" and _kernel() is not None
    table, per_sample = compiled_sums(values) if compiled else eager_sums(values)
    # Not every form carries a NaN into its extremes; every form carries it into the sum of |h|.
    table[-2:, np.isnan(table[ADDITIVE.index("total_abs")])] = np.nan
    return table, per_sample


def compiled_sums(values: Float[Tensor, "batch ..."]) -> Sums:
    """The form in numba: float32 on the CPU, in whichever of the two usual layouts it lies.

    Raises:
        ImportError: numba is not installed.
    """
    from probe.statistics import kernel

    rows = _rows(values)
    samples, positions, units = rows.shape
    table = empty_table(units)
    if positions == 1:
        # A dense layer: the samples are the rows of one block.
        kernel.add_rows(rows.contiguous().numpy().reshape(1, samples, units), table, np.zeros((1, units)))
        return table, rows[:, 0].double().numpy()
    per_sample = np.zeros((samples, units))
    if values.ndim >= 4 and values.is_contiguous():
        kernel.add_maps(values.numpy().reshape(samples, units, positions), table, per_sample)
    else:
        kernel.add_rows(rows.contiguous().numpy(), table, per_sample)
    return table, per_sample


def eager_sums(values: Float[Tensor, "batch ..."]) -> Sums:
    """The form in PyTorch's own operations: float32 or float64 on any device."""
    rows = _rows(values)
    if rows.shape[1] == 1:
        table, _ = _chunk_sums(rows.transpose(0, 1))
        return table, rows[:, 0].double().cpu().numpy()
    samples = max(1, _CHUNK // rows[0].numel())
    chunks = [_chunk_sums(chunk) for chunk in torch.split(rows, samples)]
    table = chunks[0][0]
    for other, _ in chunks[1:]:
        table = combine(table, other)
    return table, np.concatenate([per_sample for _, per_sample in chunks])


def _kernel() -> ModuleType | None:
    return kernels("probe.statistics.kernel")


def _rows(values: Tensor) -> Tensor:
    """Views an output as (batch, position, unit)."""
    if values.ndim >= 4:
        return values.movedim(1, -1).flatten(1, -2)
    return values.reshape(len(values), -1, values.shape[-1])


def _chunk_sums(rows: Tensor) -> Sums:
    """Returns the sums of (batch, position, unit), float64, on the CPU."""
    minimum = rows.amin((0, 1))
    scratch = torch.empty_like(rows)
    per_sample = _over_positions(rows)
    square = _over_positions(torch.mul(rows, rows, out=scratch))
    signs = _over_positions(torch.sign(rows, out=scratch))
    if bool((minimum >= 0).all()):
        absolute, nonzero = per_sample, signs
    else:
        nonzero = _over_positions(scratch.abs_())
        absolute = _over_positions(torch.abs(rows, out=scratch))
    count = rows.shape[0] * rows.shape[1]
    sums = torch.stack([per_sample, absolute, square, (signs + nonzero) / 2, nonzero]).sum(1)
    sums[-1] = count - sums[-1]
    table = torch.cat([sums, torch.stack([minimum, rows.amax((0, 1))]).double()])
    return table.cpu().numpy(), per_sample.cpu().numpy()


def _over_positions(rows: Tensor) -> Tensor:
    """Returns float64 sums over positions, (batch, unit), of partial sums in the rows' own precision."""
    parts = torch.split(rows, PARTIAL_VALUES, dim=1)
    total = parts[0].sum(1).double()
    for part in parts[1:]:
        total += part.sum(1)
    return total
