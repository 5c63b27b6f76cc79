"""Which hidden layers are read through a bias, so that a unit of constant output can be folded into it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from probe.capture import Activations, Layer, capture

_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@torch.no_grad()
def foldable_layers(network: nn.Module, batch: Tensor, activations: Activations | None = None) -> set[str]:
    """Returns the ids of the layers after which a linear layer or convolution with a bias runs next.

    Next of the modules with parameters: pooling and flattening carry a constant on. Where several modules read a layer,
    the first is looked at; what the network computes without a module is not seen.

    Args:
        network: In eval mode.
        batch: Observations as the network takes them; a single one is enough.
        activations: Declared nonlinearities.
    """
    waiting: list[str] = []
    folds: dict[str, bool] = {}

    def note(layer: Layer, output: Tensor, _: Tensor | None) -> None:
        waiting.append(layer.id)
        folds.setdefault(layer.id, True)

    def settle(reader: nn.Module | None) -> None:
        for layer in waiting:
            folds[layer] = folds[layer] and reader is not None and _has_bias(reader)
        waiting.clear()

    with capture(network, note, activations=activations), _readers(network, settle):
        network(batch)
        settle(None)
    return {layer for layer, can in folds.items() if can}


def _has_bias(module: nn.Module) -> bool:
    return isinstance(module, _AFFINE) and module.bias is not None


@contextmanager
def _readers(network: nn.Module, settle: Callable[[nn.Module], None]) -> Iterator[None]:
    """Tells which module with parameters of its own, parametrised or not, runs next."""
    handles = [
        module.register_forward_pre_hook(lambda module, _: settle(module))
        for module in network.modules()
        if any(True for _ in module.parameters(recurse=False)) or hasattr(module, "parametrizations")
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
