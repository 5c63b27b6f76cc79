"""Notes beside the verdicts, on courses written by hand."""

from math import nan

import pytest

from probe.diagnosis import Thresholds
from probe.diagnosis.courses import Course
from probe.diagnosis.notes import notes
from tests.probe.diagnosis.test_verdict import course, verdict

WHOLE = {"layer": "", "aggregation": "none", "module": "all"}
UNKNOWN = "Whether it learns more slowly was not measured"


def told(*courses: Course) -> list[str]:
    places = {(c.probe, c.metric, c.aggregation, c.module, c.layer, c.threshold): c for c in courses}
    return list(notes(places, [], 0, 20, Thresholds()))


def injection(*values: float, status: str = "ok") -> Course:
    by_step = dict(zip((0, 10, 20), values, strict=True))
    return course("injection", "verdict", by_step, threshold=1.1, status=status, **WHOLE)  # type: ignore[arg-type]


def depth(metric: str, *values: float, samples: int = 2560) -> Course:
    by_step = dict(zip((0, 10, 20), values, strict=True))
    where = {"layer": "", "aggregation": "none"}
    return course("layer-norms", metric, by_step, threshold=0.1, samples=samples, **where)  # type: ignore[arg-type]


def test_a_loss_that_injection_finds_is_a_loss_of_the_network() -> None:
    found = verdict(injection(0.0, 1.0, 1.0), module="all")
    (evidence,) = found.evidence
    assert (found.state, evidence.sign.probe, evidence.since) == ("lost", "injection", 10)
    assert told(injection(0.0, 1.0, 1.0)) == []


def test_injection_that_finds_none_is_no_proof_of_health() -> None:
    fitting = course("fitting", "random_network_ratio", {0: 1.0, 10: 1.1, 20: 1.0}, **WHOLE)  # type: ignore[arg-type]
    dead = course("activity", "dead_fraction", {0: 0.0, 20: 0.0})
    assert verdict(injection(0.0, 0.0, 0.0), fitting, module="all").standing[0].sign.probe == "fitting"
    (note,) = told(injection(0.0, 1.0, 0.0))
    assert "no proof of health" in note and UNKNOWN not in note
    assert UNKNOWN in told(dead)[-1]


def test_injection_with_too_few_draws_is_not_judged() -> None:
    found = verdict(injection(nan, nan, nan, status="low_sample"), module="all")
    assert (found.state, found.not_judged) == ("unknown", ("learning better with a new head",))


@pytest.mark.parametrize(
    ("metric", "last", "words"),
    [
        ("feature_rms_depth_verdict", -1.0, "the size of the features vanishes over the layers, the last is below 0.1"),
        (
            "gradient_rms_critic_depth_verdict",
            1.0,
            "the size of the critic's gradient explodes over the layers, the la",
        ),
    ],
)
def test_what_newly_vanishes_or_explodes_is_named_with_its_module(metric: str, last: float, words: str) -> None:
    note = told(depth(metric, 0.0, last, last))[0]
    assert note.startswith(f"encoder: since step 10 {words}")
    assert "at step 0 it was not" in note


def test_what_vanished_at_first_or_does_not_any_more_or_has_few_samples_is_no_news() -> None:
    for quiet in ((-1.0, -1.0, -1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)):
        assert [each for each in told(depth("feature_rms_depth_verdict", *quiet)) if "vanish" in each] == []
    few = depth("feature_rms_depth_verdict", 0.0, -1.0, -1.0, samples=100)
    assert [each for each in told(few) if "vanish" in each] == []


def test_a_policy_that_does_not_vary_any_more_is_named() -> None:
    where = {"layer": "", "aggregation": "none", "module": "actor"}
    gone = course("policy-collapse", "action_variance", {0: 0.2, 10: 0.1, 20: 0.0}, **where)  # type: ignore[arg-type]
    assert told(gone)[0].startswith("actor: since step 20 the policy is the same for every observation")
