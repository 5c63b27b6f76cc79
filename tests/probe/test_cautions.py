"""What a reader is warned of: null values, and samples too few for the measure that says so."""

from math import nan
from pathlib import Path
from typing import Any

from probe.cautions import warnings
from probe.results import Row
from tests.probe.analyses import analysis, row


def low(**changes: Any) -> Row:
    return row(**({"status": "low_sample", "aggregation": "layer", "layer": "relu1", "module": "encoder"} | changes))


def test_warnings_name_the_checkpoint_with_nan_and_the_layer_with_few_samples(tmp_path: Path) -> None:
    layers = {"aggregation": "layer", "layer": "encoder.relu1", "value": nan}
    rows = [
        row(step=1000, status="nonfinite", **layers),
        row(step=1000, status="nonfinite", metric="fau", **layers),
        row(step=0, status="low_sample", probe="rank", metric="effective_rank", samples=50, units=64, **layers),
        row(step=1000, status="low_sample", probe="rank", metric="effective_rank", samples=50, units=64, **layers),
    ]
    first, second = warnings(analysis(tmp_path, rows))
    assert first.startswith("demo / baseline / seed 0, step 1,000: NaN or infinite activations in encoder.relu1.")
    assert second.startswith("encoder.relu1: 50 samples for 64 units") and "at least 640" in second


def test_primacy_on_sets_of_one_task_says_what_it_needs(tmp_path: Path) -> None:
    rows = [row(probe="primacy", metric="random_network_primacy", value=nan, status="not_applicable")]
    (words,) = warnings(analysis(tmp_path, rows, tasks=(3,)))
    assert "every set is of task 3" in words and "--set task=" in words
    assert warnings(analysis(tmp_path, rows, tasks=(0, 1))) == []
    assert warnings(analysis(tmp_path, [row()], tasks=(3,))) == []


def test_low_halves_are_told_from_low_samples_with_the_number_that_halves_need(tmp_path: Path) -> None:
    halves = {"probe": "signal", "samples": 640, "units": 64}
    rows = [low(metric=metric, **halves) for metric in ("subspace_overlap", "direction_cosine", "surviving_overlap")]
    (words,) = warnings(analysis(tmp_path, rows))
    assert words.startswith("relu1: 640 samples for 64 units, so a half of them") and words.endswith("at least 1,280.")


def test_halves_that_are_low_because_episodes_are_whole_need_more_episodes(tmp_path: Path) -> None:
    (words,) = warnings(analysis(tmp_path, [low(probe="signal", metric="subspace_overlap", samples=640, units=32)]))
    assert "640 samples for 32 units" in words and "at least" not in words and "more episodes" in words


def test_more_rows_than_signal_takes_need_its_setting_too(tmp_path: Path) -> None:
    rows = [low(probe="signal", metric="rank_above_null", samples=500, units=64)]
    (words,) = warnings(analysis(tmp_path, rows, signal_rows=500))
    assert words.endswith("Collect at least 640, and give `--set signal.rows=640`.")


def test_one_sentence_is_enough_for_two_probes_with_the_same_lack(tmp_path: Path) -> None:
    rows = [low(probe=probe, metric="m", samples=300, units=64) for probe in ("rank", "signal")]
    (words,) = warnings(analysis(tmp_path, rows))
    assert "biased low (fewer than 10 a unit). Collect at least 640." in words


def test_measures_that_do_not_go_by_samples_a_unit_name_their_own_bound(tmp_path: Path) -> None:
    rows = [low(probe="aliasing", metric="aliasing_excess", samples=20, units=256)]
    assert warnings(analysis(tmp_path, rows)) == [
        "relu1: 20 samples, too few for what `aliasing` says of it. Collect at least 30."
    ]


def test_likeness_of_layers_goes_by_the_wider_one(tmp_path: Path) -> None:
    (words,) = warnings(analysis(tmp_path, [low(probe="redundancy", metric="cka_previous", samples=640, units=32)]))
    assert "too few for `cka_previous`" in words and "at least 10 for each unit of the widest layer" in words
