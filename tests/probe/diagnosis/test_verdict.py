"""Verdicts on courses written by hand."""

from math import nan

import pytest

from probe.diagnosis import Thresholds
from probe.diagnosis.courses import NO_THRESHOLD, Course, Place, Value
from probe.diagnosis.verdict import ModuleDiagnosis, judge, onset
from probe.diagnosis.words import standing_lines

FUNCTIONS = {"encoder.relu1": "relu", "encoder.relu2": "relu", "encoder.tanh1": "tanh"}


def course(
    probe: str,
    metric: str,
    values: dict[int, float],
    layer: str = "encoder.relu1",
    aggregation: str = "layer",
    module: str = "encoder",
    threshold: float = NO_THRESHOLD,
    samples: int = 2560,
    status: str = "ok",
) -> Course:
    points = tuple(Value(step, value, status, samples) for step, value in values.items())
    return Course(probe, metric, aggregation, module, layer, threshold, points)


def verdict(*courses: Course, module: str = "encoder", **thresholds: float) -> ModuleDiagnosis:
    places: dict[Place, Course] = {
        (c.probe, c.metric, c.aggregation, c.module, c.layer, c.threshold): c for c in courses
    }
    judged = judge(module, places, FUNCTIONS, 0, Thresholds(**thresholds))
    assert judged is not None
    return judged


def dead(*values: float, **how: float | int | str) -> Course:
    return course("activity", "dead_fraction", dict(zip((0, 10, 20), values, strict=False)), **how)  # type: ignore[arg-type]


def test_a_quarter_of_the_working_units_is_where_degrading_begins() -> None:
    # 20 % were dead at the start: of the other 80 %, a quarter is 20 points.
    assert verdict(dead(0.2, 0.2, 0.41)).state == "degrading"
    assert verdict(dead(0.2, 0.2, 0.39)).state == "healthy"


def test_a_layer_is_lost_when_nine_tenths_of_it_are() -> None:
    assert verdict(dead(0.1, 0.3, 0.9)).state == "lost"
    assert verdict(dead(0.1, 0.3, 0.89)).state == "degrading"


def test_what_was_lost_at_the_first_checkpoint_is_no_loss() -> None:
    assert verdict(dead(1.0, 1.0, 1.0)).state == "healthy"
    assert verdict(dead(0.5, 0.5, 0.5)).state == "healthy"


def test_evidence_begins_where_it_was_there_without_a_break() -> None:
    values = {0: 0.0, 10: 0.5, 20: 0.1, 30: 0.5, 40: 0.6}
    (evidence,) = verdict(course("activity", "dead_fraction", values)).evidence
    assert (evidence.since, evidence.first, evidence.last) == (30, 0.0, 0.6)


def test_dead_units_mean_nothing_where_the_nonlinearity_is_not_rectified() -> None:
    tanh = course("activity", "dead_fraction", {0: 0.0, 10: 0.9}, layer="encoder.tanh1")
    fitting = course("rank", "srank", {0: 40.0, 10: 39.0})
    assert verdict(tanh, fitting).state == "healthy"


def test_of_several_layers_the_one_that_lost_most_speaks() -> None:
    worse = dead(0.0, 0.5, 0.8, layer="encoder.relu2")
    found = verdict(dead(0.0, 0.4, 0.5), worse)
    assert [each.layer for each in found.evidence] == ["encoder.relu2"]


@pytest.mark.parametrize(("ratio", "low", "state"), [(1.6, 1.2, "lost"), (1.6, 1.0, "healthy"), (1.4, 1.3, "healthy")])
def test_slower_fitting_is_lost_plasticity_where_its_interval_is_clear(ratio: float, low: float, state: str) -> None:
    where = {"layer": "", "aggregation": "none", "module": "all"}
    found = verdict(
        course("fitting", "random_network_ratio", {0: 1.0, 10: ratio}, **where),  # type: ignore[arg-type]
        course("fitting", "random_network_ratio_low", {0: 0.9, 10: low}, **where),  # type: ignore[arg-type]
        module="all",
    )
    assert found.state == state


def test_few_samples_are_not_judged() -> None:
    found = verdict(dead(0.0, 0.5, 0.9, samples=255))
    assert (found.state, found.not_judged) == ("unknown", ("dead units",))
    low = course("rank", "srank", {0: 60.0, 10: 5.0}, status="low_sample")
    assert verdict(low, dead(0.0, 0.0, 0.0)).not_judged == ("rank of the features (srank)",)


def test_health_says_in_how_many_layers_a_measure_was_judged() -> None:
    rank = course("rank", "srank", {0: 60.0, 10: 59.0})
    wide = course("rank", "srank", {0: 60.0, 10: 5.0}, layer="encoder.relu2", status="low_sample")
    found = verdict(rank, wide)
    (standing,) = found.standing
    assert (found.state, standing.judged, standing.measured) == ("healthy", 1, 2)
    assert standing_lines(found, 0, {})[1].endswith("encoder.relu1: 60 to 59 (judged in 1 of 2 layers)")


def test_what_was_nowhere_and_is_nowhere_is_named_without_numbers() -> None:
    rank = course("rank", "srank", {0: 60.0, 10: 59.0})
    assert standing_lines(verdict(rank, dead(0.0, 0.0)), 0, {})[1] == (
        "rank of the features (srank) in encoder.relu1: 60 to 59; none: dead units"
    )
    assert "none" not in standing_lines(verdict(rank, dead(0.0, 0.01)), 0, {})[1]


def test_health_tells_of_the_layer_that_is_nearest_to_a_loss() -> None:
    found = verdict(
        dead(0.0, 0.1, 0.2),
        dead(0.3, 0.3, 0.3, layer="encoder.relu2"),
        course("rank", "srank", {0: 60.0, 20: 40.0}),
        course("rank", "srank", {0: 10.0, 20: 9.0}, layer="encoder.relu2"),
    )
    assert [(each.sign.metric, each.layer, each.first, each.last) for each in found.standing] == [
        ("dead_fraction", "encoder.relu1", 0.0, 0.2),
        ("srank", "encoder.relu1", 60.0, 40.0),
    ]


def test_a_last_value_that_is_missing_is_not_judged_by_the_one_before() -> None:
    values = (Value(0, 60.0, "ok", 2560), Value(10, 5.0, "ok", 2560), Value(20, nan, "low_sample", 2560))
    rank = Course("rank", "srank", "layer", "encoder", "encoder.relu1", NO_THRESHOLD, values)
    assert verdict(rank).state == "unknown"


def test_numbers_that_are_none_are_a_loss() -> None:
    values = (Value(0, 0.1, "ok", 2560), Value(10, nan, "nonfinite", 2560))
    broken = Course("dormancy", "dormant_fraction", "layer", "encoder", "encoder.relu1", 0.025, values)
    found = verdict(broken, dead(0.0, 0.0, 0.0))
    assert (found.state, found.evidence[0].sign.name, found.evidence[0].since) == (
        "lost",
        "NaN or infinite activations",
        10,
    )


def test_thresholds_can_be_overridden() -> None:
    assert verdict(dead(0.0, 0.0, 0.3), units=0.4).state == "healthy"


def fau(*values: float) -> list[Course]:
    steps = (0, 5, 10, 50, 100)
    return [course("fau", "fau", dict(zip(steps, values, strict=True)), layer="", aggregation="micro")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.5, 0.2, 0.1, 0.1, 0.2), "catastrophic"),  # within the first tenth, and never back
        ((0.5, 0.2, 0.3, 0.4, 0.1), "benign"),  # back in between
        ((0.5, 0.5, 0.4, 0.2, 0.1), "benign"),  # lost after the first tenth
        ((0.5, 0.2, 0.1, 0.1, 0.3), "none"),  # back at the end
        ((0.0, 0.0, 0.0, 0.0, 0.0), "none"),  # nothing to lose
    ],
)
def test_early_loss_that_never_comes_back_is_catastrophic(values: tuple[float, ...], expected: str) -> None:
    assert onset(fau(*values), 0, Thresholds()) == expected


def test_checkpoints_too_far_apart_leave_the_onset_open() -> None:
    values = {0: 0.5, 50: 0.1, 100: 0.1}  # lost somewhere in the first half
    assert onset([course("fau", "fau", values, layer="", aggregation="micro")], 0, Thresholds()) == "none"
