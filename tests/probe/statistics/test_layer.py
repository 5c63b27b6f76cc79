"""Per-layer statistics against a second formula, float64 NumPy over the whole data at once, and their algebra."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from probe.errors import ShapeError
from probe.statistics import layer as layer_module
from probe.statistics.layer import LayerStatistics

SUMS = ("total", "total_abs", "total_square")
COUNTS = ("positive", "zero", "minimum", "maximum")
SHAPES = [(37, 5), (9, 7, 6), (6, 4, 5, 3), (3, 2, 2, 3, 4)]


def rectified(shape: Sequence[int], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Half of the values exactly zero, some negative."""
    values = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.where(values < -1, values, values.relu())


def statistics_of(*batches: Tensor) -> LayerStatistics:
    statistics = LayerStatistics()
    for batch in batches:
        statistics.update(batch)
    return statistics


def as_rows(values: Tensor) -> NDArray[np.float64]:
    """(sample, position, unit) by NumPy alone."""
    array = values.double().numpy()
    if array.ndim == 2:
        return array[:, None]
    return np.moveaxis(array, 1, -1).reshape(len(array), -1, array.shape[1]) if array.ndim > 3 else array


def agree(first: LayerStatistics, second: LayerStatistics, rtol: float = 1e-6) -> None:
    assert (first.samples, first.elements, first.units) == (second.samples, second.elements, second.units)
    for name in SUMS:
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=rtol, atol=1e-6)
    for name in COUNTS:
        assert torch.equal(getattr(first, name), getattr(second, name))
    for centred in (False, True):
        a, b = first.singular_values(centred), second.singular_values(centred)
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-6 * float(a.max()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_counts_and_spectra_are_those_of_numpy_in_float64(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = rectified(shape, dtype=dtype)
    rows, statistics = as_rows(values), statistics_of(values)
    rtol = 1e-12 if dtype == torch.float64 else 2e-6
    flat = rows.reshape(-1, rows.shape[2])
    assert (statistics.samples, statistics.elements, statistics.units) == rows.shape
    np.testing.assert_allclose(statistics.total, flat.sum(0), rtol=rtol, atol=rtol * np.abs(flat).sum(0).max())
    np.testing.assert_allclose(statistics.total_abs, np.abs(flat).sum(0), rtol=rtol)
    np.testing.assert_allclose(statistics.total_square, (flat**2).sum(0), rtol=rtol)
    np.testing.assert_array_equal(statistics.positive, (flat > 0).sum(0))
    np.testing.assert_array_equal(statistics.zero, (flat == 0).sum(0))
    np.testing.assert_array_equal(statistics.minimum, flat.min(0))
    np.testing.assert_array_equal(statistics.maximum, flat.max(0))
    features = rows.mean(1)
    count = min(features.shape)
    for centred, matrix in ((False, features), (True, features - features.mean(0))):
        expected = np.linalg.svd(matrix, compute_uv=False)
        found = statistics.singular_values(centred).numpy()
        assert len(found) == count
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * rtol * expected[0])


def test_means_and_rates_divide_by_samples_and_positions() -> None:
    statistics = statistics_of(torch.tensor([[[[-1.0, 0.0], [2.0, 3.0]]], [[[0.0, 0.0], [0.0, 4.0]]]]))
    assert statistics.count == 8
    assert statistics.mean.tolist() == [1.0]
    assert statistics.mean_abs.tolist() == [1.25]
    assert statistics.mean_square.tolist() == [30 / 8]
    assert statistics.activation_rate.tolist() == [3 / 8]
    assert statistics.zero_rate.tolist() == [4 / 8]
    assert (statistics.minimum.item(), statistics.maximum.item()) == (-1.0, 4.0)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(23, 4), (23, 3, 2), (23, 3, 2, 3)]),
    cuts=st.lists(st.integers(0, 23), max_size=5),
    seed=st.integers(0, 1000),
)
def test_any_split_into_batches_gives_the_same_statistics(shape: tuple[int, ...], cuts: list[int], seed: int) -> None:
    values = rectified(shape, seed)
    edges = [0, *sorted(cuts), 23]
    parts = [values[start:stop] for start, stop in pairwise(edges)]
    agree(statistics_of(*parts), statistics_of(values))


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(4)), left=st.booleans(), seed=st.integers(0, 1000))
def test_any_order_of_merging_gives_the_same_statistics(order: list[int], left: bool, seed: int) -> None:
    parts = [rectified((rows, 3, 2, 2), seed + rows) for rows in (1, 2, 5, 30)]
    one, two, three, four = (statistics_of(parts[index]) for index in order)
    merged = one.merge(two).merge(three).merge(four) if left else one.merge(two).merge(three.merge(four))
    agree(merged, statistics_of(*parts))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), permutation=st.permutations(range(4)))
def test_permuting_units_permutes_sums_and_keeps_spectra(seed: int, permutation: list[int]) -> None:
    values = rectified((40, 4), seed)
    plain, permuted = statistics_of(values), statistics_of(values[:, permutation])
    for name in (*SUMS, *COUNTS):
        assert torch.equal(getattr(plain, name)[permutation], getattr(permuted, name))
    torch.testing.assert_close(plain.singular_values(), permuted.singular_values())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), exponent=st.integers(-20, 20))
def test_scaling_the_output_scales_sums_and_spectra(seed: int, exponent: int) -> None:
    values, factor = rectified((40, 4), seed), 2.0**exponent
    plain, scaled = statistics_of(values), statistics_of(values * factor)
    assert torch.equal(plain.total * factor, scaled.total)
    assert torch.equal(plain.total_square * factor**2, scaled.total_square)
    assert torch.equal(plain.positive, scaled.positive)
    torch.testing.assert_close(plain.singular_values() * factor, scaled.singular_values(), rtol=1e-9, atol=0)


def test_merging_leaves_both_parts_alone_and_empty_is_neutral() -> None:
    first, second = statistics_of(rectified((12, 3), 1)), statistics_of(rectified((15, 3), 2))
    before = first.to_arrays()
    first.merge(second)
    for name, array in first.to_arrays().items():
        np.testing.assert_array_equal(array, before[name])
    for merged in (first.merge(LayerStatistics()), LayerStatistics().merge(first)):
        agree(merged, first)


def test_arrays_round_trip_bit_for_bit_and_merge_on() -> None:
    first, second = statistics_of(rectified((12, 3), 1)), statistics_of(rectified((15, 3), 2))
    arrays = first.to_arrays()
    back = LayerStatistics.from_arrays({**arrays, "mean": arrays["total"], "dead_units": np.zeros(2)})
    for name, array in back.to_arrays().items():
        np.testing.assert_array_equal(array, arrays[name])
    assert back.to_arrays().keys() == arrays.keys()
    agree(back.merge(second), first.merge(second), rtol=1e-12)


def test_without_the_factor_spectra_are_read_but_not_merged() -> None:
    whole = statistics_of(rectified((40, 3)))
    arrays = {name: array for name, array in whole.to_arrays().items() if name != "factor"}
    read = LayerStatistics.from_arrays(arrays)
    assert read.factor is None
    assert read.rank_samples == 40
    for centred in (False, True):
        assert torch.equal(read.singular_values(centred), whole.singular_values(centred))
    for first, second in ((read, whole), (whole, read)):
        with pytest.raises(ValueError, match="factor"):
            first.merge(second)
    with pytest.raises(ValueError, match="factor"):
        read.update(rectified((2, 3)))


def test_statistics_without_rank_keep_no_factor() -> None:
    statistics = LayerStatistics(rank=False)
    statistics.update(rectified((40, 3)))
    assert statistics.factor is None
    assert statistics.rank_samples == 0
    assert len(statistics.singular_values()) == 0
    assert not {"factor", "singular_values"} & statistics.to_arrays().keys()
    assert LayerStatistics.from_arrays(statistics.to_arrays()).merge(statistics).samples == 80


def test_a_layer_wider_than_the_limit_gets_no_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "MAXIMUM_FEATURES", 3)
    assert statistics_of(rectified((8, 3))).factor is not None
    wide = statistics_of(rectified((8, 4)))
    assert wide.factor is None
    assert wide.merge(wide).samples == 16


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_nan_and_infinity_are_seen_and_never_compared_away(bad: float, layout: torch.memory_format) -> None:
    values = rectified((30, 4, 5, 5))
    values[17, 2, 3, 3] = bad
    statistics = statistics_of(values.contiguous(memory_format=layout), rectified((3, 4, 5, 5)))
    assert not statistics.finite
    others = [0, 1, 3]
    assert statistics.total[others].isfinite().all()
    if abs(bad) != 1e30:  # its square overflows, the value itself does not
        assert statistics.singular_values().isnan().all()
        assert statistics.singular_values(centred=True).isnan().all()
    if bad != bad:
        assert statistics.minimum.isnan().tolist() == statistics.maximum.isnan().tolist() == [False, False, True, False]
    back = LayerStatistics.from_arrays(statistics.to_arrays())
    assert not back.finite
    assert not statistics_of(rectified((3, 4, 5, 5))).merge(back).finite


def test_nothing_seen_is_not_finite_and_an_empty_batch_changes_nothing() -> None:
    assert not LayerStatistics().finite
    statistics = statistics_of(torch.zeros(0, 3), rectified((12, 3)), torch.zeros(0, 3))
    agree(statistics, statistics_of(rectified((12, 3))))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_summed_in_single_precision(dtype: torch.dtype) -> None:
    values = rectified((50, 4, 3, 3)).to(dtype)
    agree(statistics_of(values), statistics_of(values.float()), rtol=0)


def test_one_unit_one_sample_and_a_silent_layer() -> None:
    single = statistics_of(torch.tensor([[3.0]]))
    assert single.singular_values().tolist() == pytest.approx([3.0])
    assert single.singular_values(centred=True).tolist() == [0.0]
    silent = statistics_of(torch.zeros(20, 4))
    assert silent.finite
    assert silent.singular_values().tolist() == [0.0] * 4
    assert silent.zero_rate.tolist() == [1.0] * 4


def test_an_output_that_requires_grad_or_is_a_strided_view_is_read() -> None:
    values = rectified((12, 6)).requires_grad_()
    agree(statistics_of((values * 1.0)[:, ::2]), statistics_of(values.detach()[:, ::2].clone()))
    maps = rectified((4, 6, 8, 8))
    agree(statistics_of(maps[:, ::2, 1:, ::3]), statistics_of(maps[:, ::2, 1:, ::3].clone()))


@pytest.mark.parametrize("wrong", [(5, 4), (5, 3, 2, 2)])
def test_other_units_or_positions_than_before_are_refused(wrong: tuple[int, ...]) -> None:
    statistics = statistics_of(rectified((5, 3)))
    with pytest.raises(ShapeError, match="3 units with 1 positions"):
        statistics.update(torch.zeros(wrong))
    with pytest.raises(ShapeError, match="3 units with 1 positions"):
        statistics.merge(statistics_of(torch.zeros(wrong)))
    assert statistics.samples == 5


def test_an_output_without_a_unit_axis_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(5,\)"):
        LayerStatistics().update(torch.zeros(5))
