"""The compiled and the eager form of a batch's sums, in every layout, against float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probe.statistics import sums
from probe.statistics.sums import Sums, batch_sums, combine, compiled_sums, eager_sums, empty_table

FORMS = [eager_sums, pytest.param(compiled_sums, marks=pytest.mark.skipif(sums._kernel() is None, reason="no numba"))]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
}


def reference(values: Tensor) -> Sums:
    rows = values.double()
    rows = rows.flatten(2).transpose(1, 2) if rows.ndim == 4 else rows.reshape(len(rows), -1, rows.shape[-1])
    flat = rows.flatten(0, 1).numpy()
    table = [flat.sum(0), abs(flat).sum(0), (flat**2).sum(0), (flat > 0).sum(0), (flat == 0).sum(0)]
    return np.stack([*table, flat.min(0), flat.max(0)]), rows.sum(1).numpy()


def assert_agree(found: Sums, expected: Sums) -> None:
    (table, per_sample), (right, right_per_sample) = found, expected
    absolute = right[1].max()
    np.testing.assert_allclose(table[0], right[0], rtol=0, atol=2e-6 * absolute)
    np.testing.assert_allclose(table[1:3], right[1:3], rtol=2e-6)
    np.testing.assert_array_equal(table[3:], right[3:])
    np.testing.assert_allclose(per_sample, right_per_sample, rtol=0, atol=2e-6 * absolute)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shift", [0.0, -0.3])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (2, 16, 21, 21), (2, 1, 9, 7), (5, 3, 1, 1), (2, 4, 16, 16)])
def test_maps_in_any_layout(form: Callable[[Tensor], Sums], layout: str, shift: float, shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu() + shift
    laid = LAYOUTS[layout](values)
    assert_agree(form(laid), reference(values))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 600), units=st.integers(1, 40), time=st.integers(0, 3), seed=st.integers(0, 100))
def test_dense_and_sequence_outputs_of_any_size(
    form: Callable[[Tensor], Sums], rows: int, units: int, time: int, seed: int
) -> None:
    shape = (rows, time, units) if time else (rows, units)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) - 0.5
    values[values.abs() < 0.2] = 0.0
    assert_agree(form(values), reference(values))


@pytest.mark.parametrize("form", FORMS)
def test_float64_takes_over_from_256_values_on(form: Callable[[Tensor], Sums]) -> None:
    # Float32 alone stops counting at 2**24 and is off by 30 % here.
    values = torch.full((1, 1, 5000, 5000), 1.0)
    values[0, 0, 0, 0] = 2.0**24
    table, _ = form(values)
    assert table[0, 0] == pytest.approx(2**24 + 25_000_000 - 1, rel=1e-5)
    assert table[3, 0] == 25_000_000


@pytest.mark.parametrize("form", FORMS)
def test_negative_zero_is_zero_and_subnormals_are_positive(form: Callable[[Tensor], Sums]) -> None:
    table, _ = form(torch.tensor([[-0.0, 1e-40], [0.0, 1e-45]]))
    assert table[3].tolist() == [0, 2]
    assert table[4].tolist() == [2, 0]


def test_the_eager_form_holds_a_chunk_at_a_time_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(30, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    whole = eager_sums(values)
    monkeypatch.setattr(sums, "_CHUNK", 300)
    assert_agree(eager_sums(values), reference(values))
    np.testing.assert_allclose(eager_sums(values)[0], whole[0], rtol=1e-6, atol=1e-5)


def test_without_numba_the_eager_form_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(sums, "_kernel", lambda: None)
    monkeypatch.setattr(sums, "compiled_sums", None)
    assert_agree(batch_sums(values), reference(values))


def test_the_empty_table_is_neutral() -> None:
    table, _ = batch_sums(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)))
    np.testing.assert_array_equal(combine(table, empty_table(3)), table)
    np.testing.assert_array_equal(combine(empty_table(3), table), table)
