"""Critics of state and action: networks of two inputs, called with one tensor that holds both."""

import copy
import re
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from probe.checkpoints.layout import Inputs, Layout, required_inputs
from probe.errors import ShapeError
from probe.module_guess import ACTOR, CRITIC, module_named

_ACTION = re.compile(r"a|u|(.*_)?act(ion)?s?")
"""What a parameter of `forward` is called that takes actions."""


def join_inputs(network: nn.Module, layouts: Mapping[Inputs, Layout]) -> None:
    """Lets a network of a state and an action be called with one tensor, in place; any other stays as it is.

    Args:
        network: Any.
        layouts: How observations reach it; looked up when it is called, so it may be filled later.
    """
    is_action = [bool(_ACTION.fullmatch(name)) for name in required_inputs(network)]
    if len(is_action) == 2 and sum(is_action) == 1:
        network.forward = _Joined(network.forward, is_action[0], is_lone_critic(network), layouts)


def takes_actions(network: nn.Module) -> bool:
    """Whether `join_inputs` found a network of a state and an action."""
    return isinstance(network.forward, _Joined)


def is_lone_critic(network: nn.Module) -> bool:
    """Whether nothing in a network is called as actors are."""
    return all(module_named(path) != ACTOR for path, _ in network.named_modules())


class _Joined:
    """Splits rows of a flat observation and an action, and names a lone critic's outputs."""

    def __init__(
        self, forward: Callable[..., Any], action_first: bool, lone: bool, layouts: Mapping[Inputs, Layout]
    ) -> None:
        self._forward, self._action_first, self._lone, self._layouts = forward, action_first, lone, layouts

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Joined":
        # A copied network hears of observations that its checkpoint is given later, too.
        return _Joined(copy.deepcopy(self._forward, memo), self._action_first, self._lone, self._layouts)

    def __call__(self, given: Tensor, actions: Tensor | None = None) -> Any:
        observations, beside = self._split(given) if actions is None else (given, actions)
        output = self._forward(*((beside, observations) if self._action_first else (observations, beside)))
        return _named(output) if self._lone else output

    def _split(self, given: Tensor) -> tuple[Tensor, Tensor]:
        for (_, width), layout in self._layouts.items():
            size = prod(layout.taken)
            if width and tuple(given.shape[1:]) == (size + width,):
                return given[:, :size].reshape(len(given), *layout.taken), given[:, size:]
        raise ShapeError(
            f"The network takes a state and an action; it was given {tuple(given.shape[1:])}, which is no observation "
            "and action of a set."
        )


def _named(output: Any) -> Any:
    """Returns one value as `critic`, several as `critic0`, `critic1`, ...; what has names already keeps them."""
    if isinstance(output, Tensor):
        return {CRITIC: output}
    if isinstance(output, list | tuple) and all(isinstance(each, Tensor) for each in output):
        return {f"{CRITIC}{index}": each for index, each in enumerate(output)}
    return output
