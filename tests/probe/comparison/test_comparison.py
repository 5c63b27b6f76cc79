"""Two sides measured on one observation set, end to end on real files."""

from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind, ttest_rel

from probe.checkpoints import open_series
from probe.comparison import Comparison, Difference, Measure, SeedValue, compare, open_sides, plan_comparison
from probe.comparison.differences import paired_difference
from probe.errors import ConfigurationError, ShapeError
from probe.networks import NetworkSpec, preset
from probe.observations import open_observations
from probe.probes.dormancy import Dormancy
from probe.results import open_analysis
from tests.probe.series import SPEC, WIDTH, by_hand, spoil, write_observations, write_series

SEEDS = (0, 1, 2)
LONG = (0, 100, 200, 300, 400)
"""Eight units are killed at the last of these, four at the last of `write_series`'s own."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in SEEDS:
        write_series(folder / "baseline" / f"seed{seed}", seed=seed)
        write_series(folder / "other" / f"seed{seed + 1}", LONG, "other", seed + 1)
        write_series(folder / "far" / f"seed{seed + 10}", LONG, "far", seed + 10)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observations(tmp_path_factory.mktemp("data") / "observations.h5")


def row(
    comparison: Comparison, metric: str, layer: str = "encoder.dense2", threshold: float | None = None
) -> Difference:
    (found,) = (
        each
        for each in comparison.layers
        if (each.measure.metric, each.measure.layer, each.measure.threshold) == (metric, layer, threshold)
    )
    return found


def dead_by_hand(run: Path, data: Path) -> float:
    observations = torch.cat(list(open_observations(data).batches(1000)))
    network = open_series([run])[0].checkpoints[-1].network()
    hidden = by_hand(network, observations)["encoder.relu2"]
    return ((hidden > 0).sum(0) == 0).double().mean().item()


def linear(spec: NetworkSpec) -> NetworkSpec:
    modules = {
        name: module.model_copy(update={"stages": tuple(each for each in module.stages if each.kind != "relu")})
        for name, module in spec.modules.items()
    }
    return spec.model_copy(update={"modules": modules})


def test_killed_units_are_the_difference_of_two_checkpoints(runs: Path, data: Path) -> None:
    first, second, third = sorted((runs / "baseline" / "seed0" / "checkpoints").iterdir())
    for later, killed in ((second, 2), (third, 4)):
        found = compare(first, later, data, ["activity"])
        assert row(found, "dead_fraction").difference == killed / WIDTH
        assert row(found, "dead_fraction", "encoder.dense1").difference == 0
        assert found.design == "single" and found.samples == 400 and not found.same
        assert not found.only_a and not found.only_b


def test_shared_seeds_are_compared_in_pairs(runs: Path, data: Path) -> None:
    found = compare(runs / "baseline", runs / "other", data, ["activity"])
    assert found.design == "paired" and found.seeds == ((1, 2), (1, 2))
    dead = row(found, "dead_fraction")
    a, b = ([dead_by_hand(runs / name / f"seed{seed}", data) for seed in (1, 2)] for name in ("baseline", "other"))
    interval = ttest_rel(b, a).confidence_interval(0.95)
    assert (dead.low, dead.high) == pytest.approx((interval.low, interval.high))
    assert dead.difference == pytest.approx(np.mean(b) - np.mean(a)) and dead.p == 0.5


def test_different_seeds_are_compared_by_their_means(runs: Path, data: Path) -> None:
    found = compare(runs / "baseline", runs / "far", data, ["activity"])
    assert found.design == "independent" and found.seeds == ((0, 1, 2), (10, 11, 12))
    dead = row(found, "dead_fraction")
    a = [dead_by_hand(runs / "baseline" / f"seed{seed}", data) for seed in SEEDS]
    b = [dead_by_hand(runs / "far" / f"seed{seed + 10}", data) for seed in SEEDS]
    interval = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (dead.low, dead.high) == pytest.approx((interval.low, interval.high)) and isnan(dead.p)


def test_one_seed_against_several_has_the_mean_and_no_interval(runs: Path, data: Path) -> None:
    found = compare(runs / "baseline" / "seed0", runs / "far", data, ["activity"])
    dead = row(found, "dead_fraction")
    assert found.design == "single" and (dead.a.counted, dead.b.counted) == (1, 3) and isnan(dead.low)
    assert dead.b.value == pytest.approx(np.mean([dead_by_hand(runs / "far" / f"seed{s + 10}", data) for s in SEEDS]))


def test_sides_that_change_places_turn_every_sign(runs: Path, data: Path) -> None:
    one = compare(runs / "baseline", runs / "other", data, ["rank"]).differences
    other = {each.measure: each for each in compare(runs / "other", runs / "baseline", data, ["rank"]).differences}
    known = [each for each in one if not isnan(each.difference)]
    assert len(known) > 20 and len(one) == len(other)
    assert [each.difference for each in known] == [-other[each.measure].difference for each in known]


def test_a_run_against_itself_differs_nowhere_and_is_measured_once(runs: Path, data: Path, tmp_path: Path) -> None:
    found = compare(runs / "baseline", runs / "baseline", data, out=tmp_path / "a.h5")
    assert found.same and {each.difference for each in found.differences if each.a.status == "ok"} == {0.0}
    with open_analysis(tmp_path / "a.h5") as analysis:
        assert len(analysis.checkpoints) == 3


def test_nan_in_one_of_several_seeds_leaves_the_other_pairs(runs: Path, data: Path, tmp_path: Path) -> None:
    for seed in SEEDS:
        write_series(tmp_path / "broken" / f"seed{seed}", LONG, "broken", seed)
    spoil(tmp_path / "broken" / "seed1", 400)
    found = compare(runs / "baseline", tmp_path / "broken", data, ["activity"])
    dead = row(found, "dead_fraction")
    assert (dead.a.counted, dead.b.counted) == (2, 2) and dead.b.seeds[1].status == "nonfinite"
    a, b = (
        [dead_by_hand(path / f"seed{seed}", data) for seed in (0, 2)]
        for path in (runs / "baseline", tmp_path / "broken")
    )
    assert dead.difference == pytest.approx(np.mean(b) - np.mean(a)) and not isnan(dead.low)
    assert row(found, "dead_fraction", "encoder.dense1").a.counted == 3


def test_nan_on_one_side_is_shown_and_not_compared(runs: Path, data: Path, tmp_path: Path) -> None:
    run = write_series(tmp_path / "run")
    spoil(run, 200)
    found = compare(runs / "baseline" / "seed0", run, data)
    broken = row(found, "effective_rank")
    assert (broken.a.status, broken.b.status) == ("ok", "nonfinite")
    assert isnan(broken.difference) and isnan(broken.b.value)
    assert isnan(found.layers[-1].difference), "what is not compared comes last"


def test_few_samples_are_never_compared(runs: Path, data: Path) -> None:
    found = compare(runs / "baseline" / "seed0", runs / "baseline" / "seed1", data, samples=50)
    rank, dead = row(found, "effective_rank"), row(found, "dead_fraction")
    assert rank.a.status == rank.b.status == "low_sample" and rank.a.value > 0 and isnan(rank.difference)
    assert not isnan(dead.difference) and dead.measure.samples == found.samples == 50


def test_another_width_is_compared_by_label_and_named(runs: Path, data: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "wide", spec=preset("mlp", (4,), 2, 2 * WIDTH))
    found = compare(runs / "baseline" / "seed0", tmp_path / "wide", data, ["activity"])
    assert found.widths == {"encoder.dense1": (16, 32), "encoder.dense2": (16, 32)}
    dead = row(found, "dead_fraction")
    assert dead.difference == pytest.approx(
        dead_by_hand(tmp_path / "wide", data) - dead_by_hand(runs / "baseline" / "seed0", data)
    )


def test_a_layer_of_one_side_is_listed_and_the_modules_are_still_compared(
    runs: Path, data: Path, tmp_path: Path
) -> None:
    encoder = SPEC.modules["encoder"]
    short = encoder.model_copy(update={"stages": tuple(each for each in encoder.stages if each.name != "relu1")})
    write_series(tmp_path / "short", spec=SPEC.model_copy(update={"modules": {**SPEC.modules, "encoder": short}}))
    found = compare(runs / "baseline" / "seed0", tmp_path / "short", data)
    assert {each.measure.layer for each in found.only_a} == {"encoder.dense1"} and not found.only_b
    assert {each.measure.layer for each in found.layers} == {"encoder.dense2"}
    assert {each.measure.module for each in found.modules} >= {"encoder", "all"}


def test_networks_without_a_common_measure_are_refused(runs: Path, data: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "linear", spec=linear(SPEC))
    with pytest.raises(ConfigurationError, match="no layer, module and measure in common"):
        compare(runs / "baseline" / "seed0", tmp_path / "linear", data, probes=["fau"])


def test_observations_that_fit_neither_network_are_refused(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / name, spec=preset("mlp", (5,), 2, WIDTH))
    with pytest.raises(ShapeError, match=r"of shape \(5,\)"):
        compare(tmp_path / "a", tmp_path / "b", data)


def test_probes_of_a_series_are_skipped_and_refused_alone(runs: Path, data: Path) -> None:
    sides = (runs / "baseline" / "seed0", runs / "baseline" / "seed1")
    assert compare(*sides, data, ["fau", "collapse", "churn"]).skipped == ("collapse", "churn")
    with pytest.raises(ConfigurationError, match="churn: measured between the checkpoints of a series"):
        compare(*sides, data, ["churn"])


def test_draws_of_one_checkpoint_are_one_number(runs: Path, data: Path) -> None:
    from probe.probes.fitting import Fitting

    found = compare(
        runs / "baseline" / "seed0", runs / "far" / "seed10", data, [Fitting(steps=4, batch=16, draws=2, samples=64)]
    )
    measures = [each.measure for each in found.differences]
    assert len(measures) == len(set(measures))
    assert {each.arm for each in measures} == {"", "checkpoint", "fresh"}
    ratio = next(each for each in found.modules if each.measure.metric == "random_network_ratio")
    assert ratio.difference == pytest.approx(ratio.b.value - ratio.a.value) and ratio.a.value > 0


def test_what_differs_most_comes_first_among_the_layers(runs: Path, data: Path) -> None:
    found = compare(runs / "baseline" / "seed0", runs / "far" / "seed10", data, ["activity"])
    sizes = [abs(each.difference) for each in found.layers]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1], "fractions are ordered by points"
    clear = [each.clear for each in compare(runs / "baseline", runs / "far", data, ["rank"]).layers]
    assert clear == sorted(clear, reverse=True)


def test_a_measure_that_is_small_everywhere_does_not_come_first(runs: Path, data: Path) -> None:
    found = compare(runs / "baseline" / "seed0", runs / "far" / "seed10", data, ["activity"])
    measures = [
        Measure("p", metric, None, "", "encoder", layer, "layer", 400)
        for metric, layer in (("rank", "wide"), ("rank", "narrow"), ("norm", "any"), ("some_fraction", "any"))
    ]
    numbers = ((100.0, 60.0), (1.0, 2.0), (0.001, 0.0), (0.5, 0.0))
    made = tuple(
        paired_difference(measure, {0: SeedValue(a, "ok")}, {0: SeedValue(b, "ok")})
        for measure, (a, b) in zip(measures, numbers, strict=True)
    )
    ordered = [each.measure for each in replace(found, differences=made).layers]
    assert ordered == [measures[2], measures[3], measures[0], measures[1]]


def test_nothing_is_kept_unless_asked_and_a_kept_analysis_is_used_again(
    runs: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sides = (runs / "baseline" / "seed0", runs / "baseline" / "seed1")
    first = compare(*sides, data, ["dormancy"])
    assert not list(tmp_path.iterdir())
    out = tmp_path / "kept.h5"
    assert repr(compare(*sides, data, ["dormancy"], out=out).differences) == repr(first.differences)
    again = plan_comparison(open_sides(*sides), open_observations(data), out, [Dormancy(thresholds=(0.3,))])
    assert again.items == [] and list(tmp_path.iterdir()) == [out]
    assert compare(*sides, data, ["fau"], out=out).differences[0].measure.probe == "fau", "other probes are not shown"
