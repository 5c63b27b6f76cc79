"""Work items on this machine's processes; the results come back as they finish."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed

from probe.errors import ConfigurationError
from probe.memory import keep_freed_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(function: Callable[[Item], Result], items: Sequence[Item], workers: int = 1) -> Iterator[Result]:
    """Yields `function(item)` for every item, in the order in which they finish.

    With several workers each process computes on its share of the cores; `function` and the items must be importable
    data. With one worker everything runs in this process.

    Raises:
        ConfigurationError: `workers` is below one.
    """
    if workers < 1:
        raise ConfigurationError(f"--workers is {workers}; at least 1 is expected.")
    if workers == 1 or len(items) < 2:
        yield from map(function, items)
        return
    share = max(1, (os.cpu_count() or 1) // workers)
    jobs = (delayed(_on_share)(function, item, share) for item in items)
    yield from Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _on_share(function: Callable[[Item], Result], item: Item, threads: int) -> Result:
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)
    return function(item)
