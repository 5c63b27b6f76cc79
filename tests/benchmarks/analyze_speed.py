"""Statistics, streaming QR and probes of one checkpoint against its bare forward passes."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch

from probe.capture import capture
from probe.memory import keep_freed_memory
from probe.networks import Network, build, preset
from probe.probes.base import probe_class
from probe.statistics import sums
from probe.statistics.collector import StatisticsCollector

BATCH = 256
"""As `probe analyze` takes observations of 64 x 64 x 3."""
BATCHES = 10
ROUNDS = 7
THREADS = 2
PROBES = ("dormancy", "fau", "activity", "rank")


def main() -> None:
    """Prints each ratio, the median of interleaved rounds."""
    # A process of its own: the thread count must stand before PyTorch's first parallel work.
    subprocess.run([sys.executable, "-m", __name__], check=True)


def _network() -> Network:
    return build(preset("conv64", (64, 64, 3), 15, 256), torch.Generator().manual_seed(0)).eval()


def _batch(index: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(index)
    return torch.randint(0, 256, (BATCH, 64, 64, 3), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def _print_speed() -> None:
    keep_freed_memory()  # as `probe analyze` does
    torch.set_num_threads(THREADS)
    network = _network()
    batches = [_batch(index) for index in range(BATCHES)]

    def bare() -> None:
        for batch in batches:
            network(batch)

    def analyzed() -> None:
        _analyze(network, batches)

    def eager() -> None:
        with patch.object(sums, "_kernel", lambda: None):
            _analyze(network, batches)

    def hooked() -> None:
        with capture(network, lambda *_: None):
            bare()

    forms: dict[str, Callable[[], None]] = {"bare": bare, "capture alone": hooked, "without numba": eager}
    if sums._kernel() is not None:
        forms["with numba"] = analyzed
    seconds = interleaved(forms)
    rate = BATCH * BATCHES / median(seconds["bare"])
    print(f"  bare forward, conv64, batch {BATCH}, {THREADS} threads: {rate:,.0f} observations/s")
    for name, target in (("capture alone", 1.0), ("with numba", 1.3), ("without numba", 2.0)):
        if name in seconds:
            ratios = [each / base for each, base in zip(seconds[name], seconds["bare"], strict=True)]
            span = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"  {name}: {median(ratios):.2f}x the bare forward ({span}; target {target}x)")


def interleaved(forms: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Returns the seconds of each form in every round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for form in forms.values():
        form()
    for _ in range(ROUNDS):
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _analyze(network: Network, batches: list[torch.Tensor]) -> None:
    collector = StatisticsCollector()
    with capture(network, collector):
        for batch in batches:
            network(batch)
    for layer, statistics in collector.layers.items():
        statistics.to_arrays()
        for name in PROBES:
            probe_class(name)().compute(layer, statistics)


if __name__ == "__main__":
    _print_speed()
