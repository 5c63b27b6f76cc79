"""Amounts as people type them."""

import pytest

from probe.errors import ConfigurationError
from probe.quantities import parse_count, parse_range


@pytest.mark.parametrize(
    "text, value", [("0", 0), ("2_000", 2000), ("50k", 50_000), ("1.5M", 1_500_000), ("2B", 2 * 10**9)]
)
def test_counts(text: str, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ["", "k", "1.5", "-3", "1e6", "fifty", "1.0001k"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no whole number"):
        parse_count(text)


def test_ranges_and_open_ends() -> None:
    assert parse_range("1M:5M") == (1_000_000, 5_000_000)
    assert parse_range(":5k") == (0, 5000)
    assert parse_range("1k:")[0] == 1000 and parse_range("1k:")[1] > 10**15


@pytest.mark.parametrize("text", ["5", "5M:1M", "a:b"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_range(text)
