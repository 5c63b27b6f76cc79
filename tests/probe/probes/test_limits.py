"""Parameters that mean nothing are refused in one sentence, typed or given in Python."""

from collections.abc import Sequence
from dataclasses import fields
from math import inf, nan
from typing import Any, cast

import pytest

from probe.errors import ConfigurationError
from probe.probes.base import Probe, registry
from probe.probes.dormancy import Dormancy
from probe.probes.fitting import Fitting
from probe.probes.limits import numeric_parameters
from probe.probes.settings import apply_settings

COUNT = "a whole number of at least 1 is expected."
NOT_NEGATIVES = "numbers of at least 0, none of them twice, are expected."
INNER = "a number above 0 and below 1 is expected."
SHARE = "a number above 0 and of at most 1 is expected."
UP_TO_ONE = "a number of at least 0 and of at most 1 is expected."
BELOW_ONE = "a number of at least 0 and below 1 is expected."
RATES = "numbers above 0 and of at most 1, none of them twice, are expected."

# Parameter -> what is expected, bad values. NaN and infinity, and fractions where a number is whole, are tried of all.
REFUSED = {
    "activity.low_activity": (SHARE, "0", "-0.1", "1.1"),
    "aliasing.rows": ("a whole number of at least 2 is expected.", "1", "0", "-5"),
    "aliasing.share": (SHARE, "0", "-0.1", "2"),
    "collapse.tau": ("a number of at least 0 is expected.", "-0.1"),
    "collapse.dormant_share": (SHARE, "0", "1.5"),
    "collapse.least_fau": (UP_TO_ONE, "-0.1", "1.5"),
    "collapse.least_rank": ("a number of at least 1 is expected.", "0.5", "-1"),
    "collapse.least_deviation": ("a number of at least 0 is expected.", "-1"),
    "collapse.constant_share": (SHARE, "0", "1.5"),
    "collapse.fau_drop": (UP_TO_ONE, "-0.1", "1.5"),
    "curvature.samples": (COUNT, "0", "-1"),
    "curvature.delta": (INNER, "0", "1", "-0.5"),
    "curvature.iterations": (COUNT, "0", "-1"),
    "curvature.eigenvalues": ("a whole number of at least 0 is expected.", "-1"),
    "dormancy.thresholds": (NOT_NEGATIVES, "-0.1", "0,-1", "0.1,nan", "0.1,0.1"),
    "dormancy-history.thresholds": (NOT_NEGATIVES, "-0.1", "0,0"),
    "fitting.steps": (COUNT, "0", "-1", "1e30"),
    "fitting.batch": (COUNT, "0", "-1"),
    "fitting.draws": (COUNT, "0", "-1"),
    "fitting.samples": (COUNT, "0", "-1"),
    "fitting.learning_rates": (RATES, "0", "-0.1", "0.1,0", "1e300"),
    "fitting.least_gain": (BELOW_ONE, "-0.1", "1"),
    "gradient-dormancy.thresholds": (NOT_NEGATIVES, "-0.1"),
    "injection.steps": (COUNT, "0", "-1"),
    "injection.batch": (COUNT, "0", "-1"),
    "injection.draws": ("a whole number of at least 1 and of at most 20 is expected.", "0", "-1", "21"),
    "injection.samples": (COUNT, "0", "-1"),
    "injection.learning_rate": (SHARE, "0", "-0.1", "1e300"),
    "injection.margin": ("a number of at least 1 is expected.", "0", "0.9"),
    "layer-norms.fall": (INNER, "0", "1", "2", "-1"),
    "primacy.steps": (COUNT, "0", "-1"),
    "primacy.batch": (COUNT, "0", "-1"),
    "primacy.draws": (COUNT, "0", "-1"),
    "primacy.samples": (COUNT, "0", "-1"),
    "primacy.learning_rates": (RATES, "0", "-0.1"),
    "primacy.least_gain": (BELOW_ONE, "-0.1", "1"),
    "pruning.thresholds": (NOT_NEGATIVES, "-0.1"),
    "pruning.draws": ("a whole number of at least 0 is expected.", "-1"),
    "rank.delta": (INNER, "0", "1", "-0.5"),
    "rank.epsilon": ("a number of at least 0 is expected.", "-0.5"),
    "redundancy.correlation": (BELOW_ONE, "-0.5", "1"),
    "saturation.margin": ("a number above 0 and below 0.5 is expected.", "0", "-0.1", "0.5"),
    "saturation.least_deviation": ("a number of at least 0 is expected.", "-1"),
    "saturation.least_slope": ("a number of at least 0 is expected.", "-1"),
    "signal.spacing": (COUNT, "0", "-1"),
    "curvature.slice_steps": (NOT_NEGATIVES, "-0.1"),
    "signal.rows": (COUNT, "0", "-1"),
    "signal.permutations": (COUNT, "0", "-1"),
    "signal.quantile": (INNER, "0", "1", "-0.5"),
    "signal.directions": ("whole numbers of at least 1, none of them twice, are expected.", "0", "1,-1", "5,5"),
    "signal.tail_start": (BELOW_ONE, "-0.1", "1"),
    "signal.tail_stop": (SHARE, "0", "1.1"),
    "signal.widest": (COUNT, "0", "-1"),
    "spectral-norm.restarts": (COUNT, "0", "-1"),
    "spectral-norm.iterations": (COUNT, "0", "-1"),
    "spectral-norm.report": ("whole numbers of at least 1, none of them twice, are expected.", "0", "-1", "2,2"),
    "spectral-norm.tolerances": ("numbers above 0 and below 1, none of them twice, are expected.", "0", "-0.1", "1"),
    "spectral-norm.limit": (COUNT, "0", "-1"),
    "spectral-norm.pairs_among": ("a whole number of at least 2 is expected.", "0", "1"),
}
ALL = [(name, field.name) for name, probe in registry().items() for field in fields(cast(Any, probe))]
NUMERIC = [(name, parameter) for name, parameter in ALL if not isinstance(getattr(registry()[name](), parameter), str)]


def refuse(name: str, parameter: str, value: object) -> str:
    """Gives a probe a parameter, past the type checker of the tests, which would refuse some of them first."""
    made = registry()[name]()
    object.__setattr__(made, parameter, value)
    with pytest.raises(ConfigurationError) as refused:
        made.__post_init__()
    return str(refused.value)


def typed(*settings: str) -> Probe:
    (probe,) = apply_settings([registry()[settings[0].partition(".")[0]]()], settings)
    return probe


def cases() -> list[tuple[str, str, str]]:
    of_all = [(f"{name}.{parameter}", value) for name, parameter in NUMERIC for value in ("nan", "inf", "-inf")]
    whole = [(key, "2.5") for key, (expected, *_) in REFUSED.items() if "whole" in expected]
    listed = [(key, value) for key, (_, *values) in REFUSED.items() for value in values]
    return [(key, value, REFUSED[key][0]) for key, value in (*of_all, *whole, *listed)]


@pytest.mark.parametrize(("key", "value", "expected"), cases())
def test_a_value_that_means_nothing_is_refused(key: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        typed(f"{key}={value}")
    message = str(refused.value)
    assert message.startswith(f"{key} is ") and message.endswith(f"; {expected}") and "\n" not in message
    given = message.removeprefix(f"{key} is ").partition(";")[0]
    assert [float(each) for each in given.split(",")] == pytest.approx(list(map(float, value.split(","))), nan_ok=True)


@pytest.mark.parametrize(("name", "parameter"), NUMERIC)
def test_every_numeric_parameter_declares_limits_and_refuses_nan(name: str, parameter: str) -> None:
    kind = numeric_parameters(registry()[name])[parameter]
    assert kind.limits is not None, "declare them in the parameter's type: probe.probes.limits"
    several = isinstance(getattr(registry()[name](), parameter), Sequence)
    for value in (nan, inf):
        message = refuse(name, parameter, (value,) if several else value)
        assert message == f"{name}.{parameter} is {value}; {kind}."


def test_every_numeric_parameter_has_its_bad_values_here() -> None:
    assert sorted(REFUSED) == sorted(f"{name}.{parameter}" for name, parameter in NUMERIC)


@pytest.mark.parametrize("value", [2.5, "3", None, (3,), True])
def test_python_is_refused_the_same(value: Any) -> None:
    message = refuse("fitting", "steps", value)
    assert message.startswith("fitting.steps is ") and message.endswith("; a whole number of at least 1 is expected.")


def test_a_probe_made_in_python_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^fitting\.steps is 0; a whole number of at least 1 is expected\.$"):
        Fitting(steps=0)


def test_several_numbers_are_no_single_one_nor_none_where_one_is_needed() -> None:
    assert refuse("dormancy", "thresholds", 0.1).startswith("dormancy.thresholds is 0.1; numbers")
    assert refuse("fitting", "learning_rates", ()).startswith("fitting.learning_rates is empty; numbers")
    assert Dormancy(thresholds=[]).thresholds == []


def test_what_fits_only_with_another_parameter_is_refused_without_it() -> None:
    with pytest.raises(ConfigurationError, match=r"tail_start is 0\.95 and signal\.tail_stop 0\.9; a start below"):
        typed("signal.tail_start=0.95")
    with pytest.raises(ConfigurationError, match=r"limit is 5 and spectral-norm\.iterations 20; a limit of at least"):
        typed("spectral-norm.limit=5")
    signal = cast(Any, typed("signal.tail_start=0.95", "signal.tail_stop=0.99"))
    assert (signal.tail_start, signal.tail_stop) == (0.95, 0.99)
    assert cast(Any, typed("spectral-norm.limit=5", "spectral-norm.iterations=5")).limit == 5


def test_a_precision_that_there_is_not_is_refused_by_primacy() -> None:
    with pytest.raises(ConfigurationError, match=r"primacy\.precision is 'half'; float32 or bfloat16 is expected"):
        typed("primacy.precision=half")


@pytest.mark.parametrize(("setting", "value"), [("draws=0", 0), ("thresholds=0,0.5", (0.0, 0.5))])
def test_what_has_a_meaning_is_taken(setting: str, value: Any) -> None:
    assert getattr(typed(f"pruning.{setting}"), setting.partition("=")[0]) == value


def test_whole_numbers_are_typed_as_people_write_them() -> None:
    steps = cast(Any, typed("fitting.steps=1e3")).steps
    report = cast(Any, typed("spectral-norm.report=1,20")).report
    assert (steps, report) == (1000, (1, 20)) and {type(each) for each in (steps, *report)} == {int}


def test_a_probe_without_parameters_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"--set churn\.steps=1: probe churn has no parameters"):
        typed("churn.steps=1")


def test_several_numbers_for_one_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"--set fitting\.steps=1,2: one number is expected"):
        typed("fitting.steps=1,2")
