"""The R of a QR factorisation, taken as rows stream by: exact singular values in flat memory.

Source: Demmel, Grigori, Hoemmen & Langou 2012, arXiv:0808.2664 (TSQR): the R of stacked R factors is the R of all rows.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probe.arrays import NDArray

BUFFER_ROWS = 2048
"""Rows gathered before they are factored, at least: short panels would factor the old R again and again."""


class StreamingQR:
    """Keeps R, float64, with R'R = A'A for A = [1 | rows seen].

    With the leading column of ones, R = [[r, r m'], [0, R_c]] up to signs, r = sqrt(row count) and m the column means.
    So R without its first column has the singular values of the rows, and R_c has those of the rows less their means.
    """

    def __init__(self, width: int) -> None:
        """Starts with no rows; `width` is the number of columns of the rows, without the ones."""
        self.width = width
        self.rows = 0
        self._capacity = max(BUFFER_ROWS, 2 * (width + 1))
        self._buffer = np.empty((0, width + 1))
        self._filled = 0
        """Rows of the buffer in use; an R stands in the first ones after a factorisation."""
        self._factored = True
        """Whether the rows in use are one R and nothing else."""

    @classmethod
    def from_factor(cls, factor: Float[NDArray[np.float64], "rows columns"], rows: int) -> "StreamingQR":
        """Continues from an R over `rows` rows."""
        made = cls(factor.shape[1] - 1)
        made._append(factor)
        made.rows, made._factored = rows, True
        return made

    def update(self, rows: Float[NDArray[np.float64], "batch unit"]) -> None:
        """Adds rows."""
        self.rows += len(rows)
        for start in range(0, len(rows), self._capacity // 2):
            self._append(rows[start : start + self._capacity // 2])

    def merge(self, other: "StreamingQR") -> "StreamingQR":
        """Returns the factorisation of the rows of both."""
        merged = StreamingQR(self.width)
        merged.rows = self.rows + other.rows
        for part in (self, other):
            merged._append(part.factor())
        return merged

    def factor(self) -> NDArray[np.float64]:
        """Returns R, (min(rows, width + 1), width + 1); it holds NaN where rows were not finite."""
        self._factorise()
        return self._buffer[: self._filled].copy()

    def _append(self, rows: NDArray[np.float64]) -> None:
        if self._filled + len(rows) > self._capacity:
            self._factorise()
        self._reserve(self._filled + len(rows))
        target = self._buffer[self._filled : self._filled + len(rows)]
        if rows.shape[1] == self.width:
            target[:, 0] = 1.0
            target[:, 1:] = rows
        else:
            target[:] = rows
        self._filled += len(rows)
        self._factored = False

    def _reserve(self, needed: int) -> None:
        # Growth by doubling: a short set takes little memory, and no set takes more than the capacity.
        if needed > len(self._buffer):
            grown = np.empty((min(max(needed, 2 * len(self._buffer)), self._capacity), self.width + 1))
            grown[: self._filled] = self._buffer[: self._filled]
            self._buffer = grown

    def _factorise(self) -> None:
        if self._factored:
            return
        factor = _r_factor(self._buffer[: self._filled])
        self._filled = len(factor)
        self._buffer[: self._filled] = factor
        self._factored = True


def singular_values(
    factor: Float[NDArray[np.float64], "rows columns"], count: int, centred: bool = False
) -> Float[Tensor, "rank"]:
    """Returns the `count` singular values, in descending order, of the rows behind R, or of the rows less their mean.

    Values that the factor has no row for are zero; all are NaN where the factor is not finite.
    """
    if not np.isfinite(factor).all():
        return torch.full((count,), torch.nan, dtype=torch.float64)
    values = torch.zeros(count, dtype=torch.float64)
    matrix = factor[1:, 1:] if centred else factor[:, 1:]
    if matrix.size:
        found = _singular_values(matrix)[:count]
        values[: len(found)] = torch.from_numpy(found)
    return values


def _r_factor(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(matrix).all():
        # LAPACK must not see these: some builds loop for ever on NaN.
        return np.full((min(matrix.shape), matrix.shape[1]), np.nan)
    factor: NDArray[np.float64] = torch.linalg.qr(torch.from_numpy(matrix), mode="r").R.numpy()
    return factor


def _singular_values(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        values: NDArray[np.float64] = torch.linalg.svdvals(torch.from_numpy(np.ascontiguousarray(matrix))).numpy()
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        from scipy.linalg import svd

        # Divide and conquer failed to converge; the plain QR iteration is slower and always does.
        values = np.asarray(svd(matrix, compute_uv=False, lapack_driver="gesvd"))
    return values
