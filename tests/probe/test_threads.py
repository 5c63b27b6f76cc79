"""Threads; computations side by side: order, one thread each, and an end without waiting."""

from collections.abc import Iterator
from threading import Barrier, Event, current_thread, main_thread

import pytest
import torch
from threadpoolctl import threadpool_info

from probe.threads import side_by_side, use_threads


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    use_threads(before)


@pytest.mark.parametrize("count", [1, 2])
def test_matrix_products_of_pytorch_and_numpy_keep_to_the_threads(threads: int, count: int) -> None:
    use_threads(count)
    assert torch.get_num_threads() == count
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {count}


def test_results_come_in_order_each_computed_on_one_thread(threads: int) -> None:
    found = list(side_by_side(lambda item, _: (item, torch.get_num_threads(), current_thread()), range(8)))
    assert [(item, count) for item, count, _ in found] == [(item, 1) for item in range(8)]
    assert main_thread() not in {thread for _, _, thread in found}
    assert torch.get_num_threads() == threads


def test_as_many_run_at_a_time_as_there_are_threads(threads: int) -> None:
    meeting = Barrier(threads)
    assert list(side_by_side(lambda item, _: meeting.wait(60) >= 0, range(2 * threads))) == [True] * 2 * threads


def test_an_error_ends_those_that_listen(threads: int) -> None:
    def work(item: int, given_up: Event) -> bool:
        if item == 0:
            raise ValueError("item 0")
        return given_up.wait(60)

    with pytest.raises(ValueError, match="item 0"):
        list(side_by_side(work, range(4)))
    assert torch.get_num_threads() == threads


def test_items_are_drawn_in_the_callers_thread_when_their_turn_comes(threads: int) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            assert current_thread() is main_thread()
            drawn.append(item)
            yield item

    results = side_by_side(lambda item, _: item, items())
    assert next(results) == 0 and len(drawn) <= threads + 1
    assert list(results) == list(range(1, 20))
