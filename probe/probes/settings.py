"""Parameters of probes as people type them: `dormancy.thresholds=0,0.1`."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, cast

from probe.errors import ConfigurationError, UnknownNameError
from probe.probes.base import Probe
from probe.probes.limits import numeric_parameters

_EXACT = 2**53
"""Above, not every whole number has a float of its own."""


def apply_settings(probes: Sequence[Probe], settings: Sequence[str]) -> list[Probe]:
    """Returns the probes with settings `probe.parameter=value` applied: a number, several with commas, or a name.

    Raises:
        UnknownNameError: no such probe among those chosen, or it has no such parameter.
        ConfigurationError: the setting is not of that form, or a value is not what the parameter takes.
    """
    chosen = {probe.name: probe for probe in probes}
    changes: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        name, dot, parameter = key.partition(".")
        if not (equals and dot and text):
            raise ConfigurationError(f"--set '{setting}' is not of the form probe.parameter=value.")
        if name not in chosen:
            raise UnknownNameError("probe", name, chosen)
        changes.setdefault(name, {})[parameter] = _value(chosen[name], parameter, text)
    # A probe's settings at once, since one may fit only with another.
    changed = {name: cast(Probe, replace(cast(Any, chosen[name]), **each)) for name, each in changes.items()}
    return list({**chosen, **changed}.values())


def _value(probe: Probe, parameter: str, text: str) -> Any:
    known = [field.name for field in fields(cast(Any, probe))]
    if not known:
        raise ConfigurationError(f"--set {probe.name}.{parameter}={text}: probe {probe.name} has no parameters.")
    if parameter not in known:
        raise UnknownNameError(f"parameter of probe {probe.name}", parameter, known)
    numeric = numeric_parameters(type(probe))
    if parameter not in numeric:
        return text
    kind = numeric[parameter]
    try:
        numbers = tuple(_number(part, kind.whole) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(f"--set {probe.name}.{parameter}={text}: a number is expected.") from error
    if len(numbers) > 1 and not kind.several:
        raise ConfigurationError(f"--set {probe.name}.{parameter}={text}: one number is expected.")
    value = numbers if kind.several else numbers[0]
    kind.check(f"{probe.name}.{parameter}", value)
    return value


def _number(text: str, whole: bool) -> int | float:
    """Returns a number, as an integer where one is wanted and it is one."""
    number = float(text)
    return int(number) if whole and number.is_integer() and abs(number) <= _EXACT else number
