import signal

import pytest

from probe.trainers.interruption import held_back


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_acts_after_the_block_by_the_handler_from_before(number: signal.Signals) -> None:
    told: list[str] = []
    before = signal.signal(number, lambda *_: told.append("handled"))
    try:
        with held_back():
            signal.raise_signal(number)
            told.append("written")
        assert told == ["written", "handled"]
        signal.raise_signal(number)
        assert told == ["written", "handled", "handled"]
    finally:
        signal.signal(number, before)


def test_ctrl_c_is_raised_once_everything_is_written() -> None:
    written = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        written.append(True)
    assert written == [True]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_signal_does_not_stand_before_another() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    told: list[str] = []
    ending = signal.signal(signal.SIGTERM, lambda *_: told.append("ended"))
    try:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        assert told == ["ended"]
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, ending)
