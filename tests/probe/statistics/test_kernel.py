"""How the kernels are compiled and kept."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from probe.statistics import sums

kernel = pytest.importorskip("probe.statistics.kernel", reason="numba is not installed")


def test_kernels_compile_in_memory_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def without_a_place(function: Callable[..., Any], cache: bool = False, **options: Any) -> Callable[..., Any]:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(kernel, "njit", without_a_place)
    assert kernel._compiled("nsz")(len) is len
    assert asked == [True, False]


def test_without_numba_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert sums._kernel.__wrapped__() is None


def test_a_numba_told_not_to_compile_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.config.DISABLE_JIT", True)
    assert sums._kernel.__wrapped__() is None
