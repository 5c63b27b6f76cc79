"""How kernels are found, compiled and kept."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from probe.kernels import kernels

compiling = pytest.importorskip("probe.compiling", reason="numba is not installed")
ALL = ["probe.networks.pool_kernel", "probe.networks.pool_team", "probe.statistics.kernel"]


def test_kernels_compile_in_memory_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def without_a_place(function: Callable[..., Any], cache: bool = False, **options: Any) -> Callable[..., Any]:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(compiling, "njit", without_a_place)
    assert compiling.compiled("nsz")(len) is len
    assert asked == [True, False]


@pytest.mark.parametrize("module", ALL)
def test_without_numba_there_are_no_kernels(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert kernels.__wrapped__(module) is None


@pytest.mark.parametrize("module", ALL)
def test_a_numba_told_not_to_compile_is_not_used(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.__wrapped__(module) is sys.modules[module]
    monkeypatch.setattr("numba.config.DISABLE_JIT", True)
    assert kernels.__wrapped__(module) is None
