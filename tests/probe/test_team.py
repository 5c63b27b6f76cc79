"""Kernels on PyTorch's threads: every thread has its part, and they are PyTorch's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="numba is not installed")

from numba.np.numpy_support import carray
from threadpoolctl import ThreadpoolController

from probe import team as teams
from probe.team import Part, address, is_pytorchs, pointer, rank, size, team

pytestmark = pytest.mark.skipif(
    not any(each["prefix"] == "libgomp" for each in ThreadpoolController().info()),
    reason="PyTorch's threads are not GNU's",
)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _sign(given: Any) -> None:
    start, amount = carray(given, 2)
    seen = carray(pointer(start), (amount, 2), np.int64)
    seen[rank(), 0] += 1
    seen[rank(), 1] = size()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_thread_of_the_team_runs_the_part_once(count: int) -> None:
    torch.set_num_threads(count)
    seen, sign = np.zeros((8, 2), np.int64), Part(_sign)
    for times in (1, 2, 3):
        sign(address(seen), len(seen))
        assert seen[:count].tolist() == [[times, count]] * count and not seen[count:].any()


def test_the_threads_are_those_that_pytorch_was_told_to_use() -> None:
    for count in (1, 3, 2):
        torch.set_num_threads(count)
        assert is_pytorchs()
    assert team() is team()


@pytest.mark.parametrize("paths", [[], ["/one/libgomp.so.1", "/other/libgomp.so.1"]])
def test_a_library_that_cannot_be_told_is_not_used(monkeypatch: pytest.MonkeyPatch, paths: list[str]) -> None:
    class Controller:
        def select(self, user_api: str) -> "Controller":
            assert user_api == "openmp"
            return self

        def info(self) -> list[dict[str, str]]:
            return [{"filepath": path} for path in paths]

    monkeypatch.setattr(teams, "ThreadpoolController", Controller)
    with pytest.raises(ImportError, match=f"{len(paths)} are loaded"):
        team.__wrapped__()


def test_a_library_without_the_call_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    (other,) = [each for each in ThreadpoolController().info() if each["user_api"] == "blas"][:1]

    class Controller:
        def select(self, user_api: str) -> "Controller":
            return self

        def info(self) -> list[dict[str, str]]:
            return [{"filepath": other["filepath"]}]

    monkeypatch.setattr(teams, "ThreadpoolController", Controller)
    with pytest.raises(ImportError, match="is no OpenMP library of GNU's"):
        team.__wrapped__()
