"""What reading every layer each 1,000 steps, with pictures, takes of a run's time, on Pong."""

import importlib.util
import subprocess
import sys
import time

import torch

from probe.trainers.configuration import load
from probe.trainers.mitigations import make_mitigation
from probe.trainers.monitoring import ActivationMonitor
from probe.trainers.ppo import Ppo
from probe.trainers.record import RunRecord

UPDATES = 4
"""That are timed, of 1,024 steps each, after the first."""


def main() -> None:
    """Prints each share."""
    # A process of its own: the thread count must stand before PyTorch's first parallel work.
    subprocess.run([sys.executable, "-m", __name__], check=True)


def _print_shares() -> None:
    if importlib.util.find_spec("ale_py") is None:
        print("  left out: ale-py is not installed (extra `atari`)")
        return
    torch.set_num_threads(1)
    for preset in ("pong-collapse", "pong-stable"):
        _print_share(preset)


def _print_share(preset: str) -> None:
    configuration = RunRecord.new("bench", preset, "baseline", 0, load(preset)).resolved().configuration
    trainer = Ppo(configuration, make_mitigation("baseline", {}), 0, "cpu", configuration.compute.precision)
    monitor = ActivationMonitor(configuration.monitor, configuration.update_steps, trainer)
    training = monitoring = 0.0
    for update in range(UPDATES + 1):
        # The processor's time, which other processes do not lengthen.
        started = time.process_time()
        metrics = trainer.iterate()
        between = time.process_time()
        monitor.read(trainer, metrics)
        monitor.draw(trainer)
        if update:  # the first finds memory and compiles kernels
            training += between - started
            monitoring += time.process_time() - between
    rate = UPDATES * configuration.update_steps / training
    print(f"  {preset}, 1 thread: {rate:.0f} steps/s, monitoring {monitoring / training:.2%} of that (target 2 %)")


if __name__ == "__main__":
    _print_shares()
