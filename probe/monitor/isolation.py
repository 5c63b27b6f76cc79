"""What a measurement must leave as it found it beside the network: random streams and PyTorch's modes."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Gives the block random streams of its own, always the same, and full precision; afterwards all is as before.

    Python's, NumPy's and PyTorch's global streams are put back, those of the devices too that the network is on.
    """
    device = device_of(network)
    devices = [device] if device.type not in ("cpu", "meta") else []
    python, numpy = random.getstate(), np.random.get_state()
    with (
        torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"),
        torch.autocast(device.type, enabled=False),
        torch.inference_mode(False),
    ):
        try:
            random.seed(0)
            np.random.seed(0)
            for generator in _generators(devices):
                generator.manual_seed(0)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _generators(devices: list[torch.device]) -> Iterator[torch.Generator]:
    # Not `torch.manual_seed`, which seeds every device of the machine.
    yield torch.default_generator
    for device in devices:
        if device.type == "cuda":
            yield torch.cuda.default_generators[device.index or 0]


def device_of(network: nn.Module) -> torch.device:
    """Returns where the network's first tensor is; the processor where it has none."""
    for tensors in (network.parameters(), network.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")
