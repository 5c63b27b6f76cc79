"""Which values a probe's parameters may take: declared in their types, `share: Annotated[float, Limits(above=0)]`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf, isfinite
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from probe.errors import ConfigurationError


@dataclass(frozen=True)
class Limits:
    """What a number, or each of several, must keep to; all are finite, and whole where the type is `int`."""

    least: int | float = -inf
    above: int | float = -inf
    """As `least`, without the bound itself."""
    most: int | float = inf
    below: int | float = inf
    """As `most`, without the bound itself."""
    fewest: int = 0
    """Of several numbers."""

    def allow(self, value: int | float) -> bool:
        """Whether a finite number lies within."""
        return self.least <= value <= self.most and self.above < value < self.below

    @property
    def words(self) -> Sequence[str]:
        """What goes after 'a number', a bound each."""
        named = (("of at least", self.least), ("above", self.above), ("of at most", self.most), ("below", self.below))
        return [f"{word} {bound:g}" for word, bound in named if isfinite(bound)]


Count = Annotated[int, Limits(least=1)]
NotNegative = Annotated[float, Limits(least=0)]
NotNegatives = Annotated[Sequence[float], Limits(least=0)]
Share = Annotated[float, Limits(above=0, most=1)]
InnerShare = Annotated[float, Limits(above=0, below=1)]
"""Of which neither nothing nor everything would mean anything."""


@dataclass(frozen=True)
class Kind:
    """What a numeric parameter takes."""

    whole: bool
    several: bool
    limits: Limits | None
    """None: none are declared."""

    def fits(self, value: Any) -> bool:
        """Whether a value is what the parameter takes."""
        if not self.several:
            return self._fits_one(value)
        listed = isinstance(value, Sequence) and all(self._fits_one(each) for each in value)
        return listed and len(value) >= self._bounds.fewest and len(set(value)) == len(value)

    def check(self, parameter: str, value: Any) -> None:
        """Raises `ConfigurationError` where a value is not what the parameter takes."""
        if not self.fits(value):
            raise ConfigurationError(f"{parameter} is {_typed(value)}; {self}.")

    def __str__(self) -> str:
        """Says what is expected."""
        words = " and ".join(self._bounds.words)
        noun = "whole number" if self.whole else "number" if words else "finite number"
        if self.several:
            return f"{noun}s {words}".rstrip() + ", none of them twice, are expected"
        return f"a {noun} {words}".rstrip() + " is expected"

    @property
    def _bounds(self) -> Limits:
        return self.limits or Limits()

    def _fits_one(self, value: Any) -> bool:
        number = isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool)
        return number and isfinite(value) and self._bounds.allow(value)


def numeric_parameters(probe: type[Any]) -> Mapping[str, Kind]:
    """Returns what each numeric parameter of a probe's class takes, by name."""
    hints = get_type_hints(probe, include_extras=True)
    kinds = {field.name: _kind(hints[field.name]) for field in fields(probe)}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def check_parameters(name: str, probe: Any) -> None:
    """Raises `ConfigurationError` where a probe of that name holds a number that means nothing."""
    for parameter, kind in numeric_parameters(type(probe)).items():
        kind.check(f"{name}.{parameter}", getattr(probe, parameter))


def _kind(hint: Any) -> Kind | None:
    """Returns what a type takes; None where it is not of numbers."""
    annotated = get_origin(hint) is Annotated
    plain, *notes = get_args(hint) if annotated else (hint,)
    several = get_origin(plain) is Sequence
    number = get_args(plain)[0] if several else plain
    limits = next((each for each in notes if isinstance(each, Limits)), None)
    return Kind(number is int, several, limits) if number in (int, float) else None


def _typed(value: Any) -> str:
    """Returns a value as people type it."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return (",".join(map(str, value)) or "empty") if several else str(value)
