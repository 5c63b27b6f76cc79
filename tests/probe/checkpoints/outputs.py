"""What every nonlinearity of a network gives out, by PyTorch's own hooks and by ours."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probe.capture import Layer, capture
from probe.capture.trace import is_activation
from probe.checkpoints import Checkpoint


def hooked(network: nn.Module, run: Callable[[], Any]) -> dict[str, Tensor]:
    """Returns the output of each module that is an activation."""
    return outputs_of({path: each for path, each in network.named_modules() if is_activation(each)}, run)


def outputs_of(modules: Mapping[str, nn.Module], run: Callable[[], Any]) -> dict[str, Tensor]:
    """Returns what each of some modules gave out, those that ran and in that order, by a hook on it."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, __, output: seen.update({name: output.detach().clone()})

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return seen


def captured(checkpoint: Checkpoint, batch: Tensor) -> dict[str, Tensor]:
    """Returns the output of each layer of a checkpoint's network, as an analysis sees it."""
    seen: dict[str, Tensor] = {}
    network = checkpoint.network()

    def keep(layer: Layer, output: Tensor, _: Tensor | None) -> None:
        seen[layer.id] = output.detach().clone()

    with torch.no_grad(), capture(network, keep):
        network(checkpoint.prepare(batch))
    return seen


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert list(ours) == list(theirs)
    for name, output in theirs.items():
        assert torch.allclose(ours[name], output, rtol=0.0, atol=tolerance), name
