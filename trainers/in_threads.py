"""Runs side by side in this process, a thread each, so that they share one CUDA context and its memory."""

import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue

import torch

from probe.trainers.jobs import Ending, Job, Progress, Tell, train

_THREADS = 1
"""PyTorch's, in a run beside others: what it computes must not follow from how many others there are."""

Told = SimpleQueue[tuple[Job, Progress | Ending]]


def train_in_threads(jobs: list[Job], workers: int, tell: Tell) -> None:
    """Trains up to `workers` runs at a time, in the order of the jobs; `tell` is called in this thread alone.

    While one run waits for its environments, the GPU computes for another, in a stream of its own.

    Raises:
        KeyboardInterrupt: this process was interrupted; every run has ended after an update, and has saved its state.
            Interrupted once more, it ends them as they are.
    """
    waiting, running = deque(jobs), 0
    told: Told = SimpleQueue()
    stop = threading.Event()
    try:
        while waiting or running:
            while waiting and running < workers:
                # A daemon does not keep a process alive that is interrupted twice.
                threading.Thread(target=_work, args=(waiting.popleft(), told, stop), daemon=True).start()
                running += 1
            running -= _listen(told, tell)
    except BaseException:
        stop.set()
        while running:
            running -= _listen(told, tell)
        raise


def _listen(told: Told, tell: Tell) -> bool:
    """Passes on what a run tells next; returns whether it has ended."""
    job, message = told.get()
    tell(job, message)
    return isinstance(message, Ending)


def _work(job: Job, told: Told, stop: threading.Event) -> None:
    def pass_on(job: Job, message: Progress | Ending) -> None:
        told.put((job, message))
        if stop.is_set() and isinstance(message, Progress):
            raise KeyboardInterrupt

    try:
        with _stream(job.record.configuration.compute.device):
            train(job, _THREADS, pass_on)
    except KeyboardInterrupt:
        told.put((job, Ending(interrupted=True)))


def _stream(device: str) -> AbstractContextManager[object]:
    on_gpu = device != "cpu" and torch.cuda.is_available()
    return torch.cuda.stream(torch.cuda.Stream()) if on_gpu else nullcontext()  # type: ignore[no-untyped-call]
