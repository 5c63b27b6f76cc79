"""How many threads this process computes on, and computations side by side, each on one of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def use_threads(count: int) -> None:
    """Sets how many threads PyTorch and NumPy's matrix products may compute on in this process.

    NumPy's wait for each other by spinning, so that on a busy machine a small product takes longer on two than on one.
    """
    torch.set_num_threads(count)
    threadpool_limits(count, user_api="blas")


def side_by_side(function: Callable[[Item, Event], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields `function(item, given_up)` in order, as many at a time as PyTorch has threads.

    Each computes on one thread, so that its result does not depend on how many there are, and threads do not wait for
    each other within every operation. The items are drawn in the caller's thread, when their turn comes.

    Args:
        function: Must not draw from PyTorch's global random state, and may end early once the event is set: an error
            or Ctrl-C has ended the others.
        items: What to compute on.
    """
    threads, given_up = torch.get_num_threads(), Event()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item, given_up))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            given_up.set()
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # PyTorch keeps one number for all threads that are still to come
