"""Max pooling and the IMPALA network with our kernel and with PyTorch's: forward and backward.

In processor time on one thread, which another process does not disturb; by the clock on two.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch

from probe.memory import keep_freed_memory
from probe.networks import Network, build, max_pool, preset
from probe.networks.max_pool import MaxPool

ROUNDS = 10
ROWS = 128
LAYERS = ((16, 64), (32, 32), (32, 16))
"""Channels and side of what the network pools."""
PRECISIONS = (torch.float32, torch.bfloat16)


def main() -> None:
    """Prints each ratio, the median of interleaved rounds."""
    # Processes of their own: memory that others have freed would be warm.
    for threads in (1, 2):
        subprocess.run([sys.executable, "-m", __name__, str(threads)], check=True)


def _measured(threads: int) -> None:
    keep_freed_memory()
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    network = build(preset("impala", (64, 64, 3), 15, 256), torch.Generator().manual_seed(0))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    observations = torch.randint(0, 256, (ROWS, 64, 64, 3), dtype=torch.uint8)
    for precision in PRECISIONS:
        images = [
            torch.randn(ROWS, channels, side, side, dtype=precision).to(memory_format=torch.channels_last)
            for channels, side in LAYERS
        ]
        forms: dict[str, Callable[[], None]] = {
            "max pooling": lambda images=images: _pooled(images),  # type: ignore[misc]
            "IMPALA": lambda precision=precision: _trained(network, observations, precision),  # type: ignore[misc]
        }
        for name, form in forms.items():
            ours, pytorchs = _interleaved(form, clock)
            print(
                f"  {name}, {precision}, threads: {threads}, {1e3 * ours:.1f} ms, "
                f"{pytorchs / ours:.2f} times as fast as with PyTorch's pooling",
                flush=True,
            )


def _pooled(images: list[torch.Tensor]) -> None:
    for each in images:
        pooled = MaxPool(3, 2, 1)(each.requires_grad_())
        torch.autograd.grad(pooled, each, pooled.detach())


def _trained(network: Network, observations: torch.Tensor, precision: torch.dtype) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        outputs = network(observations)
    (outputs["actor"].float().mean() + outputs["critic"].float().mean()).backward()


def _interleaved(form: Callable[[], None], clock: Callable[[], float]) -> tuple[float, float]:
    """Returns seconds with the kernel and without."""
    rounds = []
    for _ in range(ROUNDS + 1):
        ours = _seconds(form, clock)
        with patch.object(max_pool, "kernels", lambda module: None):
            rounds.append((ours, _seconds(form, clock)))
    ours, pytorchs = (median(seconds) for seconds in zip(*rounds[1:], strict=True))
    return ours, pytorchs


def _seconds(form: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    form()
    return clock() - start


if __name__ == "__main__":
    _measured(int(sys.argv[1]))
