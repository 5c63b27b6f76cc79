"""Holding back what would interrupt, while things are written that belong together."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM act at the end of the block, by the handlers from before it; an ignored one stays so.

    Handlers are replaced, not masks: another thread of the process may take a signal that the main thread blocks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals act in the main thread alone
        return
    arrived: list[int] = []
    handlers = {each: signal.getsignal(each) for each in _SIGNALS}
    # Were an ignored signal noted too, it would come before the one that counts.
    before = {each: handler for each, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
    try:
        for each in before:
            signal.signal(each, lambda number, _: arrived.append(number))
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)
