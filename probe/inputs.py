"""What the modules of a network are given when it runs."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@torch.no_grad()
def input_shapes(
    network: nn.Module, modules: Mapping[str, nn.Module], batch: Tensor
) -> dict[str, set[tuple[int, ...]]]:
    """Runs a batch and returns every shape, without the batch axis, that each module is given."""
    shapes: dict[str, set[tuple[int, ...]]] = {name: set() for name in modules}

    def follow(name: str, module: nn.Module) -> RemovableHandle:
        return module.register_forward_pre_hook(lambda _, inputs: shapes[name].add(tuple(inputs[0].shape[1:])))

    handles = [follow(name, module) for name, module in modules.items()]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


@torch.no_grad()
def module_inputs(network: nn.Module, module: nn.Module, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yields what a module is given first in each forward pass of the network."""
    given: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))
    try:
        for batch in batches:
            network(batch)
            yield given[0]
            given.clear()
    finally:
        handle.remove()
