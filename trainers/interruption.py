"""Holding back what would interrupt, while things are written that belong together."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM act at the end of the block, by the handlers from before it.

    Handlers are replaced, not masks: another thread of the process may take a signal that the main thread blocks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals act in the main thread alone
        return
    arrived: list[int] = []
    before = {each: handler for each in _SIGNALS if (handler := signal.getsignal(each)) is not None}
    for each in before:
        signal.signal(each, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)
