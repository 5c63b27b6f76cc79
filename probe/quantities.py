"""Amounts as people type them: `50k`, `1M`, `1M:5M`, `0-4`."""

import re

from probe.errors import ConfigurationError

_SIZES = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


def parse_count(text: str) -> int:
    """Returns the whole number that `50k`, `1.5M` or `2000` stands for.

    Raises:
        ConfigurationError: it is no such number.
    """
    match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?)([kKmMbB]?)", text.strip())
    value = float(match[1].replace("_", "")) * _SIZES[match[2].lower()] if match else 0.5
    if value != int(value):
        raise ConfigurationError(f"'{text}' is no whole number. Write it as 2000, 50k or 1.5M.")
    return int(value)


def parse_range(text: str) -> tuple[int, int]:
    """Returns the inclusive range that `1M:5M` stands for; an open end, as in `1M:`, is far away.

    Raises:
        ConfigurationError: it is no range, or it is empty.
    """
    first, colon, last = text.partition(":")
    low, high = parse_count(first or "0"), parse_count(last) if last else 2**62
    if not colon or low > high:
        raise ConfigurationError(f"'{text}' is no range of steps. Write it as 1M:5M, 1M: or :5M.")
    return low, high
