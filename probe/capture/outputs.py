"""Which nonlinearities only squash what the network returns: outputs, which are no hidden layers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from probe.capture.trace import Layer

_FITTING = ("mul", "multiply", "add", "sub", "subtract", "rsub", "div", "divide", "true_divide", "exp", "clamp", "neg")
_FITTINGS = frozenset(form for name in _FITTING for form in (name, f"{name}_", f"__{name}__", f"__r{name}__"))
"""Functions that fit a squashed output into a range; whether operators or methods."""
_SQUASHING = frozenset({"tanh", "sigmoid", "hardtanh", "hardsigmoid", "softplus", "softsign", "logsigmoid"})


class Outputs:
    """Finds them by identity: what was bent, and at most scaled and shifted since, is what the network returned."""

    def __init__(self, declared: Collection[str] = ()) -> None:
        """Starts with none; modules at `declared` paths are layers whatever happens to their output."""
        self.layers: set[str] = set()
        """Ids of the layers found so far, in all forward passes."""
        self._declared = declared
        self._bent: list[tuple[str, Tensor]] = []

    def bent(self, layer: Layer, output: Tensor) -> None:
        """Hears of a nonlinearity's output."""
        if layer.function in _SQUASHING and layer.path not in self._declared:
            self._bent.append((layer.id, output))

    def follow(self, func: Any, given: Sequence[Any], output: Any) -> None:
        """Hears of any function: what numbers fit into a range, and no other activations, is still followed."""
        if not self._bent or getattr(func, "__name__", "") not in _FITTINGS or not isinstance(output, Tensor):
            return
        whole = [_memory(each) for each in given if isinstance(each, Tensor) and each.numel() == output.numel()]
        if len(whole) == 1:
            self._bent += [(layer, output) for layer, bent in self._bent if _memory(bent) == whole[0]]

    def returned(self, given: Any) -> None:
        """Hears what the network returned at the end of a forward pass."""
        if self._bent:
            memories = {_memory(each) for each in _tensors(given)}
            self.layers |= {layer for layer, output in self._bent if _memory(output) in memories}
            self._bent.clear()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(given: Any) -> Iterator[Tensor]:
    """Yields the tensors in what a network returned: alone, in containers, or as a distribution's parameters."""
    if isinstance(given, Tensor):
        if given.numel():
            yield given
    elif isinstance(given, Mapping):
        yield from _tensors(list(given.values()))
    elif isinstance(given, list | tuple):
        for each in given:
            yield from _tensors(each)
    elif isinstance(given, Distribution):
        yield from _tensors(vars(given))
