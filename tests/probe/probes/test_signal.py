"""Signal: noise and low rank told apart, halves by episode, slopes of known spectra, second formulas, edges."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles, svdvals
from torch import Tensor

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.observations import open_observations
from probe.probes.base import Findings, Reading
from probe.probes.rank import effective_rank
from probe.probes.signal import (
    Signal,
    beyond_chance,
    direction_cosines,
    principal_directions,
    subspace_overlap,
    tail_slope,
)
from probe.statistics.permutation import (
    centred,
    deflated_rank,
    leading_count,
    null_spectrum,
    permuted,
    surviving,
)
from probe.statistics.rows import DEPENDENT
from tests.probe.probes.subjects import Features, Made, by_metric
from tests.probe.series import write_observations, write_series

FEW = Signal(permutations=8, directions=(1, 3), spacing=1)
"""The rows of most tests are independent."""
NULL = ("rank_above_null", "deflated_rank_above_null", "surviving_overlap")


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(samples: int, units: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, units, generator=stream(seed)).double()


def low_rank(samples: int, units: int, rank: int, level: float = 0.05, seed: int = 0) -> Tensor:
    strengths = torch.arange(rank, 0, -1).double()
    signal = (noise(samples, rank, seed) * strengths) @ torch.linalg.qr(noise(units, rank, seed + 1)).Q.T
    return signal + level * noise(samples, units, seed + 2)


def rotation(size: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(noise(size, size, seed)).Q


def measured(features: Tensor, episodes: Tensor | None = None, probe: Signal = FEW) -> Findings:
    groups = torch.arange(len(features)) // 10 if episodes is None else episodes
    features = features - features.min() + 1
    return probe.measure(Made(Features(), features, {"episodes": groups.numpy()}))


def readings(features: Tensor, episodes: Tensor | None = None, probe: Signal = FEW) -> dict[str, Reading]:
    return by_metric(measured(features, episodes, probe), "encoder")


def test_high_but_noisy_and_low_but_healthy_differ_by_a_number() -> None:
    noisy, healthy = noise(600, 20), low_rank(600, 20, 4)
    ranks = [effective_rank(svdvals_of(each)) for each in (noisy, healthy)]
    assert ranks[0] is not None and ranks[1] is not None and ranks[0] > 15 > 6 > ranks[1]
    first, second = readings(noisy), readings(healthy)
    assert first["deflated_rank_above_null"].value == 0
    assert second["deflated_rank_above_null"].value == 4
    assert second["surviving_overlap"].value == pytest.approx(1, abs=0.01)
    assert first["surviving_overlap"] == Reading("surviving_overlap", None, "degenerate")
    assert second["subspace_overlap@3"].value == pytest.approx(1, abs=0.05)
    assert (first["subspace_overlap@3"].value or 0) < 0.5 < (second["direction_cosine@3"].value or 0)
    assert {each.status for metric, each in second.items()} == {"ok"}


def svdvals_of(features: Tensor) -> Tensor:
    return torch.linalg.svdvals(centred(features))


def test_independent_units_of_unequal_strength_are_no_signal() -> None:
    features = noise(500, 10) * torch.logspace(0, -2, 10).double()
    assert readings(features)["deflated_rank_above_null"].value == 0


def test_a_null_keeps_every_column_and_breaks_what_they_share() -> None:
    shared = noise(400, 1).repeat(1, 5)
    null = null_spectrum(shared, 10, 0.95, stream())
    assert null.square().sum().item() == pytest.approx(centred(shared).square().sum().item(), rel=0.1)
    spectrum = svdvals_of(shared)
    assert spectrum[0] > 2 * null[0] and bool((spectrum[1:] < null[1:]).all())
    assert leading_count(surviving(spectrum, null, 1e-9)) == 1


def test_the_null_is_the_quantile_of_permuted_spectra_by_numpy() -> None:
    features, generator = noise(50, 3), stream(5)
    found = null_spectrum(features, 6, 0.95, stream(5))
    matrix = features.numpy() - features.numpy().mean(0)
    spectra = []
    for _ in range(6):
        columns = [matrix[torch.randperm(50, generator=generator).numpy(), j] for j in range(3)]
        spectra.append(svdvals(np.stack(columns, axis=1)))
    assert found.numpy() == pytest.approx(np.quantile(spectra, 0.95, axis=0))


def test_a_permutation_keeps_each_column_and_not_its_order() -> None:
    features = noise(40, 3)
    found = permuted(features, stream())
    assert torch.equal(found.sort(0).values, features.sort(0).values)
    assert not any(torch.equal(found[:, j], features[:, j]) for j in range(3))


@pytest.mark.parametrize("rank", [0, 1, 4, 10, 16])
def test_strong_directions_do_not_hide_weak_ones_nor_make_noise_of_any_rank_a_signal(rank: int) -> None:
    features = low_rank(600, 20, rank, 0.1, seed=rank)
    null = null_spectrum(features, 10, 0.95, stream())
    leading = leading_count(surviving(svdvals_of(features), null, 1e-9))
    assert leading <= rank
    assert deflated_rank(features, leading, 1e-9, 10, 0.95, stream()) == rank


def test_dead_units_hide_no_direction_and_make_none() -> None:
    for rank in (0, 4):
        features = torch.cat([low_rank(600, 20, rank, 0.1), torch.zeros(600, 30).double()], dim=1)
        null = null_spectrum(features, 10, 0.95, stream())
        leading = leading_count(surviving(svdvals_of(features), null, 1e-9))
        assert deflated_rank(features, leading, 1e-9, 10, 0.95, stream()) == rank


def test_overlap_beyond_chance_is_zero_for_chance_and_one_for_the_same() -> None:
    assert beyond_chance(0.25, 5, 20) == 0
    assert beyond_chance(1.0, 5, 20) == 1
    assert beyond_chance(1.0, 20, 20) is None and beyond_chance(None, 0, 20) is None


def test_features_without_noise_have_their_rank() -> None:
    features = low_rank(300, 8, 3, level=0.0)
    assert deflated_rank(features, 1, 1e-9, 10, 0.95, stream()) == 3


def test_one_unit_never_exceeds_its_own_null() -> None:
    found = readings(noise(100, 1))
    assert found["rank_above_null"].value == 0
    assert found["subspace_overlap@1"].value == pytest.approx(1)
    assert found["tail_slope"].status == found["subspace_overlap@3"].status == "not_applicable"


def test_counting_stops_at_the_first_that_fails() -> None:
    mask = torch.tensor([True, True, False, True])
    assert leading_count(mask) == 2
    assert leading_count(~mask) == 0


def test_the_price_is_the_same_before_and_after_the_pass() -> None:
    subject = Made(Features(), noise(100, 4), {"episodes": np.zeros(100)})
    after = FEW.work(subject)
    subject.statistics = {}
    assert FEW.work(subject) == after == {"forward": 100, "algebra": 10 * 8 * 100 * 16}
    assert Signal(permutations=8).work(subject)["algebra"] == 10 * 8 * 25 * 16


@pytest.mark.parametrize("power", [0.0, 0.5, 1.5])
def test_power_laws_have_their_exponent_as_slope(power: float) -> None:
    spectrum = 7 * torch.arange(1, 51).double() ** -power
    slope, fit = tail_slope(spectrum, 0.1, 0.9) or (None, None)
    assert slope == pytest.approx(-power, abs=1e-12) and fit == pytest.approx(1)


def test_slope_and_fit_are_those_of_polyfit_and_corrcoef() -> None:
    spectrum = noise(40, 1)[:, 0].abs().sort(descending=True).values + 0.1
    x, y = np.log(np.arange(4, 37)), np.log(spectrum.numpy()[3:36])
    assert tail_slope(spectrum, 0.1, 0.9) == pytest.approx((np.polyfit(x, y, 1)[0], np.corrcoef(x, y)[0, 1] ** 2))


def test_four_values_have_no_slope() -> None:
    assert tail_slope(torch.ones(4).double(), 0.0, 1.0) is None
    assert tail_slope(torch.ones(5).double(), 0.0, 1.0) == (0, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_overlap_is_the_mean_squared_cosine_of_scipys_principal_angles(seed: int, k: int) -> None:
    first, second = rotation(6, seed), rotation(6, seed + 1)
    angles = subspace_angles(first[:k].numpy().T, second[:k].numpy().T)
    assert subspace_overlap(first, second, k) == pytest.approx((np.cos(angles) ** 2).mean())
    assert subspace_overlap(first, first[torch.randperm(k)], k) == pytest.approx(1)
    assert subspace_overlap(first, second, 6) == pytest.approx(1)
    assert subspace_overlap(first, second, 7) is None and subspace_overlap(first, second, 0) is None
    assert direction_cosines(first, -first).numpy() == pytest.approx(1)


def test_chance_overlap_is_k_of_units() -> None:
    found = [subspace_overlap(rotation(30, seed), rotation(30, seed + 1000), 3) for seed in range(40)]
    assert np.mean([each or 0 for each in found]) == pytest.approx(3 / 30, abs=0.02)


def test_directions_are_those_of_the_centred_features_without_rounding() -> None:
    features = low_rank(60, 5, 2, level=0.0) + 30
    directions = principal_directions(features)
    assert len(directions) == 2
    expected = np.linalg.eigh(np.cov(features.numpy().T))[1][:, ::-1].T[:2]
    assert direction_cosines(directions, torch.from_numpy(expected.copy())).numpy() == pytest.approx(1)


def values(found: dict[str, Reading], *leave_out: str) -> dict[str, float | None]:
    return {metric: each.value for metric, each in found.items() if metric not in leave_out}


@pytest.mark.parametrize(("seed", "exponent"), [(0, -12), (1, 7)])
def test_scale_changes_nothing_and_rotation_only_the_null(seed: int, exponent: int) -> None:
    features = low_rank(200, 8, 3, 0.2, seed)
    plain = readings(features)
    assert values(readings(2.0**exponent * features)) == pytest.approx(values(plain), abs=1e-6)
    turned = readings(features @ rotation(8, seed))
    assert values(turned, *NULL) == pytest.approx(values(plain, *NULL), abs=1e-6)


def test_the_order_of_units_changes_no_reproducible_number() -> None:
    features = low_rank(300, 8, 3, 0.2)
    shuffled = features[:, torch.randperm(8, generator=stream(3))]
    assert values(readings(shuffled)) == pytest.approx(values(readings(features)), abs=1e-9)


def test_arrays_hold_the_spectrum_its_null_and_the_cosines() -> None:
    features = low_rank(300, 8, 3)
    arrays = measured(features).arrays["encoder"]
    assert arrays["signal_spectrum"] == pytest.approx(svdvals_of(features).numpy())
    assert len(arrays["signal_null"]) == len(arrays["signal_cosines"]) == 8


def test_a_fixed_spread_of_rows_is_used_and_stated() -> None:
    probe = Signal(rows=100, permutations=4, spacing=1)
    features = low_rank(300, 8, 3)
    found = readings(features, probe=probe)
    assert found["rows_used"].value == 100
    chosen = torch.arange(100) * 3
    expected = svdvals_of(features[chosen]).numpy()
    assert measured(features, probe=probe).arrays["encoder"]["signal_spectrum"] == pytest.approx(expected)


def after_one_another(samples: int, units: int, likeness: float, seed: int = 0) -> Tensor:
    """An AR(1) sequence a unit, independent of the others."""
    rows = list(noise(samples, units, seed))
    for index in range(1, samples):
        rows[index] = likeness * rows[index - 1] + (1 - likeness**2) ** 0.5 * rows[index]
    return torch.stack(rows)


def test_a_null_of_rows_that_are_alike_is_no_null_and_says_so() -> None:
    features = after_one_another(4000, 10, 0.9)
    long = torch.zeros(4000, dtype=torch.long)
    near = readings(features, long, Signal(permutations=8, directions=(1, 3)))
    assert (near["row_autocorrelation"].value or 0) == pytest.approx(0.9**4, abs=0.05)
    assert near["rank_above_null"].status == near["deflated_rank_above_null"].status == "low_sample"
    assert (near["rank_above_null"].value or 0) > 0  # of noise
    assert near["rows_used"] == Reading("rows_used", 1000) and near["tail_slope"].status == "ok"
    far = readings(features, long, Signal(permutations=8, directions=(1, 3), spacing=30))
    assert abs(far["row_autocorrelation"].value or 0) < DEPENDENT
    assert far["deflated_rank_above_null"] == Reading("deflated_rank_above_null", 0, "ok", 0.95)


def test_halves_of_rows_that_are_alike_keep_their_status_and_the_overlap_of_what_survives_does_not() -> None:
    features = after_one_another(4000, 10, 0.9) + low_rank(4000, 10, 3)
    found = readings(features, torch.arange(4000) // 400, Signal(permutations=8, directions=(1, 3)))
    assert {each.status for metric, each in found.items() if metric in NULL} == {"low_sample"}
    assert found["surviving_overlap"].value is not None
    assert found["subspace_overlap@3"].status == found["direction_cosine@1"].status == "ok"


def test_interleaved_episodes_whose_rows_forget_each_other_have_the_null_of_independent_ones() -> None:
    turns = torch.arange(2000).reshape(8, 250).T.reshape(-1)
    above: dict[int, list[float]] = {1: [], 4: []}
    for seed in range(5):
        slow = after_one_another(2000, 10, 0.6, seed)[turns]
        for spacing, status in ((1, "low_sample"), (4, "ok")):
            found = readings(slow, turns // 250, Signal(directions=(1, 3), spacing=spacing))
            assert found["row_autocorrelation"].value == pytest.approx(0.6**spacing, abs=0.06)
            assert {found[metric].status for metric in NULL[:2]} == {status}
            above[spacing].append(found["rank_above_null"].value or 0)
    # Of 10 independent units one or so is above by chance.
    assert np.mean(above[4]) <= 1.5 < 2 <= np.mean(above[1])


def test_thinning_that_leaves_few_rows_is_said() -> None:
    found = readings(low_rank(300, 8, 3), probe=Signal(permutations=4, directions=(1, 3)))
    assert found["rows_used"].value == 75
    assert found["deflated_rank_above_null"] == Reading("deflated_rank_above_null", 3, "low_sample", 0.95)


@pytest.mark.parametrize(("samples", "status", "known"), [(7, "low_sample", False), (79, "low_sample", True)])
def test_few_rows_are_said(samples: int, status: str, known: bool) -> None:
    found = readings(low_rank(samples, 8, 3))
    assert found["rank_above_null"].status == status
    assert (found["rank_above_null"].value is not None) == known


def test_halves_need_two_episodes_and_a_row_a_unit() -> None:
    features = low_rank(100, 8, 3)
    one = readings(features, torch.zeros(100, dtype=torch.long))
    assert one["subspace_overlap@1"] == Reading("subspace_overlap", None, "not_applicable", 1)
    assert one["deflated_rank_above_null"].value == 3
    assert one["surviving_overlap"].status == "not_applicable"
    short = readings(features, (torch.arange(100) >= 95).long())
    assert short["direction_cosine@3"] == Reading("direction_cosine", None, "low_sample", 3)


def test_a_recording_that_does_not_know_its_episodes_counts_as_one(tmp_path: Path) -> None:
    np.save(tmp_path / "recorded.npy", noise(200, 4).float().numpy())
    folder = write_series(tmp_path / "run", steps=(0,))
    probes, data = [Signal(permutations=4, spacing=1)], open_observations(tmp_path / "recorded.npy")
    with plan(open_series([folder]), [data], tmp_path / "a.h5", probes).complete() as analysis:
        found = analysis.select(probe="signal", layer="encoder.relu2")
        rows = dict(zip(found["metric"], found["status"], strict=True))
    assert rows["surviving_overlap"] == "not_applicable" and rows["deflated_rank_above_null"] == "ok"


def test_silent_constant_broken_and_wide_layers_give_no_number() -> None:
    groups = {"episodes": np.arange(100) // 10}
    for features, probe, status in (
        (torch.zeros(100, 4), FEW, "degenerate"),
        (torch.full((100, 4), 0.1), FEW, "degenerate"),
        (torch.full((100, 4), torch.nan), FEW, "nonfinite"),
        (noise(100, 4).abs(), Signal(widest=3), "not_applicable"),
    ):
        found = by_metric(probe.measure(Made(Features(), features, groups)), "encoder")
        assert {each.status for metric, each in found.items() if metric != "rows_used"} == {status}
        assert {each.value for metric, each in found.items() if metric != "rows_used"} == {None}


def test_an_analysis_holds_signal_and_spectra_and_repeats_them(tmp_path: Path) -> None:
    folder, data = write_series(tmp_path / "run", steps=(0, 100)), write_observations(tmp_path / "o.h5", samples=200)
    found = []
    for name in ("a.h5", "b.h5"):
        planned = plan(
            open_series([folder]), [open_observations(data)], tmp_path / name, [Signal(permutations=4, spacing=1)]
        )
        list(planned.measure())
        list(planned.examine())
        with planned.assemble() as analysis:
            rows = analysis.select(probe="signal", metric="deflated_rank_above_null", layer="encoder.relu2")
            found.append(rows["value"].tolist())
            checkpoint, observations = analysis.checkpoints[0]["digest"], analysis.data[0]["digest"]
            arrays = analysis.layer_arrays(checkpoint, observations)["encoder.relu2"]
            assert len(arrays["signal_spectrum"]) == 16
            assert arrays["signal_spectrum"] == pytest.approx(arrays["singular_values_centred"], rel=1e-5, abs=1e-5)
    assert found[0] == found[1] and 1 <= found[0][0] <= 16
