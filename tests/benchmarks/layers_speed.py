"""A training pass with our own forms of max pooling, linear layers and convolutions against the same with PyTorch's.

In processor time on one thread, which another process does not disturb; by the clock on two. Linear layers and
convolutions have a form of ours in float32 alone.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from unittest.mock import patch

import torch

from probe.memory import keep_freed_memory
from probe.networks import Network, build, convolution, dense, max_pool, preset

ROUNDS = 30
ROWS = 128
POOLING, REST = "max pooling", "linear layers and bias gradients"
FORMS = {
    POOLING: [(max_pool, "kernels", lambda module: None)],
    REST: [(each, "_fits", lambda *given: False) for each in (dense, convolution)],
}
"""What is ours, and how it is turned off: module, name, replacement."""
CASES = (
    ("impala", torch.float32, (POOLING, REST)),
    ("impala", torch.bfloat16, (POOLING,)),
    ("conv64", torch.float32, (REST,)),
)


def main() -> None:
    """Prints each ratio, the median of interleaved rounds."""
    # Processes of their own: memory that others have freed would be warm.
    for threads in (1, 2):
        subprocess.run([sys.executable, "-m", __name__, str(threads)], check=True)


def _measured(threads: int) -> None:
    keep_freed_memory()
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    observations = torch.randint(0, 256, (ROWS, 64, 64, 3), dtype=torch.uint8)
    for name, precision, forms in CASES:
        network = build(preset(name, (64, 64, 3), 15, 256), torch.Generator().manual_seed(0))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rounds = [_round(network, observations, precision, forms, clock) for _ in range(ROUNDS + 1)][1:]
        for form in forms:
            ratios = [each[form] / each["ours"] for each in rounds]
            print(
                f"  {name}, {precision}, threads: {threads}: {median(ratios):.3f} times as fast as with {form} "
                f"by PyTorch ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


def _round(
    network: Network,
    observations: torch.Tensor,
    precision: torch.dtype,
    forms: tuple[str, ...],
    clock: Callable[[], float],
) -> dict[str, float]:
    """Returns the seconds of a pass, with all forms of ours and without each."""
    seconds = {}
    for form in ("ours", *forms):
        with ExitStack() as stack:
            for replaced in FORMS.get(form, ()):
                stack.enter_context(patch.object(*replaced))
            start = clock()
            _trained(network, observations, precision)
            seconds[form] = clock() - start
    return seconds


def _trained(network: Network, observations: torch.Tensor, precision: torch.dtype) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        outputs = network(observations)
    (outputs["actor"].float().mean() + outputs["critic"].float().mean()).backward()


if __name__ == "__main__":
    _measured(int(sys.argv[1]))
