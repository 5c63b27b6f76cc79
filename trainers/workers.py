"""Runs side by side, each in a process of its own, so that neither a crash nor the system's killer ends the others."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import FrameType
from typing import NoReturn

from probe.memory import keep_freed_memory
from probe.trainers.jobs import BESIDE_OTHERS, OUR_FAULT, Ending, Job, Progress, Tell, train


def train_side_by_side(jobs: list[Job], workers: int, tell: Tell) -> None:
    """Trains up to `workers` runs at a time, in the order of the jobs.

    Raises:
        KeyboardInterrupt: this process was interrupted; every run was stopped, and has saved its state.
    """
    _start_server()
    waiting, running = deque(jobs), _Running({})
    try:
        while waiting or running.workers:
            while waiting and len(running.workers) < workers:
                running.start(waiting.popleft())
            running.listen(tell)
    except BaseException:
        running.stop(tell)
        raise


@dataclass(frozen=True)
class _Running:
    """The processes, by the pipe that each tells its progress through.

    A pipe each, not one queue: a process that is killed while it holds a queue's lock would silence all others.
    """

    workers: dict[Connection, tuple[Job, ForkServerProcess]]

    def start(self, job: Job) -> None:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("forkserver").Process(target=_work, args=(job, sender))
        process.start()
        sender.close()  # so that the pipe ends with the process
        self.workers[receiver] = job, process

    def listen(self, tell: Tell) -> None:
        """Waits until runs have something to tell, and passes it on."""
        for receiver in wait(list(self.workers)):
            assert isinstance(receiver, Connection)
            job, process = self.workers[receiver]
            try:
                told: Progress | Ending = receiver.recv()
            except (EOFError, OSError):
                process.join()
                told = _killed(process.exitcode)
            if isinstance(told, Ending):
                process.join()
                receiver.close()
                del self.workers[receiver]
            tell(job, told)

    def stop(self, tell: Tell) -> None:
        """Asks every run to save and end, and waits; interrupted once more, it ends them as they are."""
        try:
            for _, process in self.workers.values():
                process.terminate()
            while self.workers:
                self.listen(tell)
        except KeyboardInterrupt:
            for _, process in self.workers.values():
                process.kill()


def _start_server() -> None:
    """Starts the process that the workers are forked from: everything is imported there once, nothing computed.

    It ignores Ctrl-C, and so do they: the terminal sends it to all, and they are stopped by this process.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def _work(job: Job, sender: Connection) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()

    def tell(_: Job, told: Progress | Ending) -> None:
        try:
            sender.send(told)
        except BrokenPipeError:
            signal.raise_signal(signal.SIGTERM)

    try:
        train(job, BESIDE_OTHERS, tell)
    except KeyboardInterrupt:
        with suppress(BrokenPipeError):
            sender.send(Ending(interrupted=True))


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Interrupts once: a second signal would break off the saving that the first one led to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Stops this run when the process that started it is gone, so that none trains on unseen."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _killed(exit_code: int | None) -> Ending:
    """Describes the end of a process that told of none."""
    how = f"code {exit_code}"
    if exit_code is not None and exit_code < 0:
        how = f"signal {-exit_code} ({signal.Signals(-exit_code).name})"
    memory = " The system may have run out of memory: try fewer --workers." if exit_code == -signal.SIGKILL else ""
    return Ending(f"its process was ended by {how}.{memory} Continue with --resume.", OUR_FAULT)
