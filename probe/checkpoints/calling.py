"""Networks that have no `forward`: agents of single-file scripts, which act through a method of their own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probe.checkpoints.layout import Inputs, Layout
from probe.checkpoints.state_action import join_inputs
from probe.errors import ConfigurationError
from probe.module_guess import ENCODER, module_named

_METHODS = ("get_action_and_value", "get_action", "act", "get_value")
"""What is called in place of `forward`; the first is CleanRL's, Huang et al. 2022, JMLR 23(274)."""


def callable_network(network: nn.Module, source: str, layouts: Mapping[Inputs, Layout]) -> nn.Module:
    """Returns the network as it is called with one tensor, in place, out of what compiled or distributes it.

    One without `forward` acts through a method; one of a state and an action is given both joined.

    Args:
        network: Any.
        source: Begins the message.
        layouts: How observations reach it; may be filled later.

    Raises:
        ConfigurationError: it has neither.
    """
    network = _unwrapped(network)
    if type(network).forward is not nn.Module.forward:
        join_inputs(network, layouts)
        return network
    method = next((name for name in _METHODS if callable(getattr(network, name, None))), None)
    if method is None:
        raise ConfigurationError(
            f"{source}: {type(network).__name__} has no `forward`, nor any of {', '.join(_METHODS)}. "
            "Give a class or function whose module can be called with a batch of observations."
        )
    network.forward = _Acting(network, method)  # nn.Module.__call__ looks there first
    return network


def _unwrapped(network: nn.Module) -> nn.Module:
    compiled = getattr(network, "_orig_mod", None)  # torch.compile's
    inside = network.module if isinstance(network, nn.DataParallel) else compiled
    return _unwrapped(inside) if isinstance(inside, nn.Module) else network


class _Acting:
    """Calls the method and returns what the network's parts gave: `actor` logits, or `mean`, and `critic`."""

    def __init__(self, network: nn.Module, method: str) -> None:
        self._network, self._method = network, method

    def __call__(self, observations: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        continuous = any("std" in name for name, _ in self._network.named_parameters())

        def keep(role: str, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs["mean" if role == "actor" and continuous else role] = output

        handles = [
            child.register_forward_hook(lambda _, __, output, role=role: keep(role, output))
            for name, child in self._network.named_children()
            if (role := module_named(name)) != ENCODER
        ]
        try:
            with torch.random.fork_rng(devices=[]):  # it samples an action
                given = getattr(self._network, self._method)(observations)
        finally:
            for handle in handles:
                handle.remove()
        return outputs or {"output": given}
