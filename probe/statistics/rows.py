"""Rows of a feature matrix that were observed one after the other: how far apart, in which half, and how alike."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probe.statistics.permutation import centred

DEPENDENT = 0.2
"""Correlation of consecutive rows above which they are not taken to be independent.

Covariances of noise vary by (1 + r^2) / (1 - r^2) more than those of independent rows: at 0.2, 8 % more.
"""


def rows_apart(groups: Int[Tensor, "sample"], spacing: int, most: int) -> Int[Tensor, "row"]:
    """Returns at most so many rows, ascending, which lie `spacing` rows of their group apart, or more.

    The groups are laid end to end, and every so many-th row is taken: so rows come from every part of a group, and
    from each in proportion to its length.
    """
    order = torch.argsort(groups, stable=True)
    return order[:: max(spacing, -(-len(order) // most))].sort().values


def halves_by_group(groups: Int[Tensor, "sample"], generator: torch.Generator) -> Bool[Tensor, "sample"] | None:
    """Returns which rows are in the first of two halves, each group whole in one; None where there is one group.

    Groups come in random order, each into the half that has fewer rows so far.
    """
    _, number, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return None
    first, rows = torch.zeros(len(sizes), dtype=torch.bool), [0, 0]
    for group in torch.randperm(len(sizes), generator=generator).tolist():
        half = int(rows[0] > rows[1])
        first[group] = half == 0
        rows[half] += int(sizes[group])
    return first[number]


def row_autocorrelation(features: Float[Tensor, "sample unit"], groups: Int[Tensor, "sample"]) -> float | None:
    """Returns the correlation of a group's consecutive rows, over all units: what thinning has left of it.

    None where no group has two rows, or nothing varies.
    """
    matrix = centred(features)
    order = torch.argsort(groups, stable=True)
    matrix, groups = matrix[order], groups[order]
    neighbours = groups[1:] == groups[:-1]
    variance = matrix.square().sum(1).mean()
    if not bool(neighbours.any()) or variance == 0:
        return None
    return ((matrix[1:] * matrix[:-1]).sum(1)[neighbours].mean() / variance).item()
