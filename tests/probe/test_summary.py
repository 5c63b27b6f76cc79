"""First, last, change, course, and what stands out."""

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from probe.analysis import analyze
from probe.results import Row
from probe.summary import finding, summarise
from probe.summary_lines import Line
from tests.probe.analyses import STEPS, analysis, row
from tests.probe.series import SPEC, with_activation, write_observations, write_series

RANK = {"probe": "rank", "metric": "effective_rank", "aggregation": "layer"}


def line(metric: str, *values: float, module: str = "all", samples: int = 1000) -> Line:
    statuses = tuple("nonfinite" if isnan(value) else "ok" for value in values)
    return Line(metric, "", metric, module, "", "%", STEPS[: len(values)], values, statuses, samples)


def course(values: Sequence[float], **changes: Any) -> list[Row]:
    return [row(step=step, value=value, **changes) for step, value in zip(STEPS, values, strict=True)]


def test_a_series_is_summarised_in_step_order(tmp_path: Path) -> None:
    values = {2000: 0.5, 0: 0.1, 1000: 0.2}
    rows = [row(step=step, value=value, threshold=0.025) for step, value in values.items()]
    rows += [row(step=step, value=9.0, threshold=0.1) for step in STEPS]  # another tau is another measure
    (series,) = summarise(analysis(tmp_path, rows))
    (only,) = series.lines
    assert only.values == (0.1, 0.2, 0.5) and only.steps == STEPS
    assert (only.first, only.last) == (0.1, 0.5) and only.change == pytest.approx(0.4)


def test_the_rank_is_that_of_each_modules_last_layer(tmp_path: Path) -> None:
    rows = [
        row(step=s, layer=name, value=v, module="encoder", **RANK)
        for s in STEPS
        for name, v in (("relu1", 7.0), ("dense", 50.0 - s / 100))
    ]
    (series,) = summarise(analysis(tmp_path, rows))
    (only,) = series.lines
    assert only.layer == "dense" and only.values == (50.0, 40.0, 30.0)
    assert "effective rank of the features fell by 40%" in series.finding


def test_a_rise_is_named_with_its_steepest_interval() -> None:
    words = finding((line("dormant_fraction", 0.01, 0.02, 0.3),))
    assert words == "Dormant units rose from 1.0% to 30.0%, most between steps 1,000 and 2,000."


def test_dead_units_at_the_start_are_named_because_they_are_no_loss() -> None:
    assert "12.0% of the units were dead at step 0 already" in finding((line("dead_fraction", 0.12, 0.12, 0.12),))


def test_a_checkpoint_with_nan_is_counted_beside_what_else_stands_out() -> None:
    words = finding((line("dormant_fraction", 0.1, nan, 0.4),))
    assert words.startswith("NaN or infinite activations at 1 of 3 checkpoints. Dormant units rose from 10.0% to 40.0%")


def test_the_whole_network_is_left_out_where_one_module_is_all_of_it(tmp_path: Path) -> None:
    rows = [row(step=s, module=m, threshold=0.025) for s in STEPS for m in ("encoder", "all")]
    (series,) = summarise(analysis(tmp_path, rows))
    assert [only.module for only in series.lines] == ["encoder"]


def test_a_steady_series_says_that_nothing_stands_out() -> None:
    lines = (line("dormant_fraction", 0.02, 0.05, 0.06), line("fau", 0.5, 0.45, 0.42))
    assert finding(lines).startswith("Nothing stands out")


def test_a_null_in_the_middle_is_no_number(tmp_path: Path) -> None:
    rows = [row(step=s, value=v, threshold=0.025) for s, v in zip(STEPS, (0.1, nan, 0.2), strict=True)]
    (series,) = summarise(analysis(tmp_path, rows))
    assert isnan(series.lines[0].values[1]) and series.lines[0].change == pytest.approx(0.1)
    assert "rose from 10.0% to 20.0%, most between steps 0 and 2,000." in series.finding


def test_the_rank_of_weights_is_none_of_features(tmp_path: Path) -> None:
    weights = {**RANK, "probe": "spectral-norm", "module": "encoder", "layer": "dense", "samples": -1}
    assert summarise(analysis(tmp_path, course((28.0, 20.0, 9.0), **weights))) == []
    rows = course((50.0, 49.0, 48.0), module="encoder", layer="dense", **RANK) + course((28.0, 20.0, 9.0), **weights)
    (series,) = summarise(analysis(tmp_path, rows))
    assert [only.values for only in series.lines] == [(50.0, 49.0, 48.0)] and "Nothing stands out" in series.finding


def test_zeros_are_not_counted_where_a_zero_does_not_mean_inactive(tmp_path: Path) -> None:
    layers = {"relu1": ("encoder", "relu"), "tanh1": ("actor", "tanh"), "relu2": ("critic", "relu")}
    rows = [
        each
        for module in ("encoder", "actor", "critic", "all")
        for probe, metric in (("activity", "dead_fraction"), ("fau", "fau"))
        for each in course((0.0, 0.3, 0.6), module=module, probe=probe, metric=metric)
    ]
    (series,) = summarise(analysis(tmp_path, rows, layers=layers))
    # Of the whole network neither: the actor is in that average.
    assert [(each.metric, each.module) for each in series.lines] == [
        *(("dead_fraction", "encoder"), ("dead_fraction", "critic")),
        *(("fau", "encoder"), ("fau", "critic")),
    ]
    assert "Dead units (encoder) rose from 0.0% to 60.0%" in series.finding
    assert "not shown for actor: in tanh a zero does not mean inactive" in series.finding


def test_a_tanh_network_is_told_nothing_of_dead_units(tmp_path: Path) -> None:
    run = write_series(tmp_path / "run", spec=with_activation(SPEC, "tanh"))
    with analyze(run, write_observations(tmp_path / "observations.h5"), tmp_path / "a.h5") as found:
        (series,) = summarise(found)
    assert {each.metric for each in series.lines} == {"dormant_fraction", "effective_rank"}
    assert "rose" not in series.finding and "in tanh a zero does not mean inactive" in series.finding


def test_no_fall_is_claimed_on_low_samples(tmp_path: Path) -> None:
    rows = course((30.0, 9.0, 7.0), module="encoder", layer="dense", status="low_sample", samples=512, **RANK)
    rows += course((0.1, 0.1, 0.1), module="encoder", threshold=0.025, samples=512)
    (series,) = summarise(analysis(tmp_path, rows))
    assert series.finding == (
        "Nothing stands out: no fraction rose by 5 points. Too few samples to judge: effective rank."
    )


def test_no_rise_is_claimed_on_fewer_samples_than_the_diagnosis_takes() -> None:
    words = finding((line("dormant_fraction", 0.1, 0.2, 0.9, samples=200), line("fau", 0.5, 0.5, 0.5)))
    assert words == "Nothing stands out: no FAU fell by 20%. Too few samples to judge: dormant_fraction."


def test_checkpoints_are_compared_at_equal_sample_counts_only(tmp_path: Path) -> None:
    rows = [
        row(step=step, value=value, threshold=0.025, module="encoder", samples=samples)
        for step, value, samples in ((0, 0.1, 2560), (1000, 0.6, 300), (2000, 0.62, 300))
    ]
    (series,) = summarise(analysis(tmp_path, rows))
    (only,) = series.lines
    assert only.steps == (1000, 2000) and only.samples == 300 and only.first == 0.6
    assert series.finding.startswith("Nothing stands out")
    assert "measured on another number of samples than 300: step 0." in series.finding


def test_a_single_checkpoint_is_compared_with_nothing() -> None:
    assert finding((line("dormant_fraction", 0.3),)).startswith("One checkpoint: there is nothing to compare it with.")


def test_every_modules_rank_is_asked_and_the_one_that_fell_is_named() -> None:
    lines = (
        *(
            line("effective_rank", 40.0, 10.0, 9.0, module="actor"),
            line("effective_rank", 9.0, 9.0, 9.0, module="critic"),
        ),
        line("dormant_fraction", 0.1, 0.1, 0.1),
    )
    assert finding(lines) == "The effective rank of the features (actor) fell by 78% of its first value."
