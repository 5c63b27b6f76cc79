"""The streaming QR against SciPy on the whole matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import svdvals

from probe.statistics import tsqr
from probe.statistics.tsqr import StreamingQR, singular_values


def graded(rows: int, width: int, condition: float = 1e10, seed: int = 0) -> NDArray[np.float64]:
    """A matrix with singular values from 1 down to 1/condition, and a mean."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((rows, width)))
    right, _ = np.linalg.qr(rng.standard_normal((width, width)))
    matrix: NDArray[np.float64] = left * np.geomspace(1, 1 / condition, width) @ right
    return matrix


def streamed(matrix: NDArray[np.float64], batch: int) -> StreamingQR:
    qr = StreamingQR(matrix.shape[1])
    for start in range(0, len(matrix), batch):
        qr.update(matrix[start : start + batch])
    return qr


@pytest.mark.parametrize("batch", [64, 1000, 20_000])
def test_small_singular_values_survive_where_a_gram_matrix_loses_them(batch: int) -> None:
    matrix = graded(9000, 20)
    found = singular_values(streamed(matrix, batch).factor(), 20).numpy()
    np.testing.assert_allclose(found, svdvals(matrix), rtol=1e-5)
    by_gram = np.sqrt(np.abs(np.linalg.eigvalsh(matrix.T @ matrix)))[::-1]
    assert abs(by_gram[-1] / 1e-10 - 1) > 0.5


def test_r_of_the_ones_and_the_rows_gives_the_means() -> None:
    matrix = graded(700, 6) + np.arange(6)
    factor = streamed(matrix, 64).factor()
    assert factor.shape == (7, 7)
    np.testing.assert_allclose(abs(factor[0, 0]), np.sqrt(700))
    np.testing.assert_allclose(factor[0, 1:] / factor[0, 0], matrix.mean(0), rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 60), width=st.integers(1, 12), batch=st.integers(1, 60), seed=st.integers(0, 100))
def test_raw_and_centred_spectra_of_any_shape_are_scipys(rows: int, width: int, batch: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).standard_normal((rows, width)) + 3
    factor = streamed(matrix, batch).factor()
    count = min(rows, width)
    for centred, expected in ((False, matrix), (True, matrix - matrix.mean(0))):
        found = singular_values(factor, count, centred).numpy()
        np.testing.assert_allclose(found, svdvals(expected)[:count], atol=1e-12 * svdvals(matrix)[0])


def test_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsqr, "BUFFER_ROWS", 50)
    qr, sizes = StreamingQR(8), set()
    for batch in np.split(graded(4000, 8), 100):
        qr.update(batch)
        sizes.add(len(qr._buffer))
    assert max(sizes) <= 50
    assert qr.rows == 4000
    np.testing.assert_allclose(singular_values(qr.factor(), 8).numpy(), svdvals(graded(4000, 8)), rtol=1e-5)


def test_merged_parts_have_the_spectrum_of_all_rows() -> None:
    matrix = graded(500, 8) + 1
    merged = streamed(matrix[:3], 2).merge(streamed(matrix[3:], 64))
    assert merged.rows == 500
    for centred, expected in ((False, matrix), (True, matrix - matrix.mean(0))):
        found = singular_values(merged.factor(), 8, centred).numpy()
        np.testing.assert_allclose(found, svdvals(expected), rtol=0, atol=1e-13 * svdvals(matrix)[0])


def test_reading_the_factor_twice_or_from_itself_changes_no_bit() -> None:
    qr = streamed(graded(500, 8), 64)
    factor = qr.factor()
    np.testing.assert_array_equal(qr.factor(), factor)
    np.testing.assert_array_equal(StreamingQR.from_factor(factor, 500).factor(), factor)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_give_a_nan_spectrum_and_keep_doing_so(bad: float) -> None:
    matrix = graded(500, 8)
    matrix[100, 3] = bad
    qr = streamed(matrix, 64)
    for _ in range(2):
        assert np.isnan(singular_values(qr.factor(), 8).numpy()).all()
        qr.update(graded(5000, 8))


def test_a_failure_of_the_fast_svd_falls_back_to_the_sure_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(matrix: object) -> None:
        raise torch.linalg.LinAlgError("did not converge")  # type: ignore[attr-defined]

    matrix = graded(50, 8)
    monkeypatch.setattr(torch.linalg, "svdvals", fail)
    np.testing.assert_allclose(singular_values(streamed(matrix, 64).factor(), 8).numpy(), svdvals(matrix), rtol=1e-5)
