"""How many threads this process computes on, and computations side by side, each on one of them."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from threading import Event
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from probe.arrays import NDArray

Item = TypeVar("Item")
Result = TypeVar("Result")
_WORTHWHILE = 2**18
"""Values of the first array to a thread: below that, waking one takes longer than it saves."""


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


def share_out(function: Callable[..., None], *arrays: NDArray[Any]) -> None:
    """Calls a function on equal parts of arrays, one for each thread of PyTorch's.

    Args:
        function: Must let go of the interpreter lock, and treat each sample by itself.
        arrays: Samples first.
    """
    samples, size = len(arrays[0]), arrays[0].size
    parts = max(1, min(torch.get_num_threads(), samples, size // _WORTHWHILE))
    ends = [samples * part // parts for part in range(parts + 1)]
    own, *others = [[array[start:stop] for array in arrays] for start, stop in pairwise(ends)]
    waiting = [_helpers(os.getpid(), len(others)).submit(function, *part) for part in others]
    function(*own)
    for each in waiting:
        each.result()


@cache
def _helpers(process: int, count: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked one has none of its parent's."""
    return ThreadPoolExecutor(count)
