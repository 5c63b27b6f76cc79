"""Runs side by side in this process, a thread each, so that they share one CUDA context and its memory."""

import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import torch

from probe.trainers.jobs import BESIDE_OTHERS, Ending, Job, Progress, Tell, train

Told = SimpleQueue[tuple[Job, Progress | Ending]]


def train_in_threads(jobs: list[Job], workers: int, tell: Tell) -> None:
    """Trains up to `workers` runs at a time, in the order of the jobs; `tell` is called in this thread alone.

    While one run waits for its environments, the GPU computes for another, in a stream of its own.

    Raises:
        KeyboardInterrupt: this process was interrupted; every run has ended after an update, and has saved its state.
            Interrupted once more, it ends them as they are.
    """
    waiting, running = deque(jobs), _Running({}, SimpleQueue(), threading.Event())
    try:
        while waiting or running.threads:
            while waiting and len(running.threads) < workers:
                running.start(waiting.popleft())
            running.listen(tell)
    except BaseException:
        running.stop.set()
        while running.threads:
            running.listen(tell)
        raise


@dataclass(frozen=True)
class _Running:
    threads: dict[Path, threading.Thread]
    told: Told
    stop: threading.Event

    def start(self, job: Job) -> None:
        # A daemon does not keep a process alive that is interrupted twice.
        thread = threading.Thread(target=_work, args=(job, self.told, self.stop), daemon=True)
        self.threads[job.path] = thread
        thread.start()

    def listen(self, tell: Tell) -> None:
        """Waits until a run has something to tell, and passes it on."""
        job, message = self.told.get()
        if isinstance(message, Ending):
            # What a thread still cleans up after its last word must not meet the end of the process.
            self.threads.pop(job.path).join()
        tell(job, message)


def _work(job: Job, told: Told, stop: threading.Event) -> None:
    def pass_on(job: Job, message: Progress | Ending) -> None:
        told.put((job, message))
        if stop.is_set() and isinstance(message, Progress):
            raise KeyboardInterrupt

    try:
        with _stream(job.record.configuration.compute.device):
            train(job, BESIDE_OTHERS, pass_on)
    except KeyboardInterrupt:
        told.put((job, Ending(interrupted=True)))


def _stream(device: str) -> AbstractContextManager[object]:
    on_gpu = device != "cpu" and torch.cuda.is_available()
    return torch.cuda.stream(torch.cuda.Stream()) if on_gpu else nullcontext()  # type: ignore[no-untyped-call]
