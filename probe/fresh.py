"""Newly initialised networks of a checkpoint's architecture."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

from probe.checkpoints.base import Checkpoint


def redrawn(network: nn.Module, seed: int) -> nn.Module | None:
    """Returns a copy whose layers drew their parameters anew, each by its own `reset_parameters`.

    None where a module with parameters of its own has no such method, or is parametrised (its weight is computed).
    """
    fresh = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if any(True for _ in module.parameters(recurse=False)) or reset is not None:
                if reset is None or parametrize.is_parametrized(module):
                    return None
                reset()
    return fresh.eval()


def random_network(checkpoint: Checkpoint, seed: int) -> nn.Module | None:
    """Returns a random network of the architecture: by its own initialisation where that is known, else PyTorch's."""
    known = checkpoint.fresh(seed)
    return redrawn(checkpoint.network(), seed) if known is None else known
