"""Linear layers in float32 by oneDNN, whose matrix products are twice as fast as MKL's on AMD processors."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from probe.networks.plain import PLAIN, is_plain

_LEAST = 2**20
"""Multiplications of a forward pass; below, a call of oneDNN costs more than it saves."""


class Dense(nn.Linear):
    """A linear layer: by oneDNN where that is faster, else by PyTorch's own choice, which for float32 is MKL.

    oneDNN gets products that are large enough, of float32 matrices on a CPU outside autocast, while nothing transforms
    or traces the network. Both round sums in an order of their own. The backward pass makes the gradients of all that
    learns, whichever of them are asked for.
    """

    def forward(self, input: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch unit"]:
        """Returns input W' + b."""
        return dense(input, self.weight, self.bias)


def dense(
    input: Float[Tensor, "*batch feature"], weight: Float[Tensor, "unit feature"], bias: Float[Tensor, "unit"] | None
) -> Float[Tensor, "*batch unit"]:
    """Returns input W' + b; who watches PyTorch's functions sees it as one."""
    given = (input, weight, bias)
    tensors = (input, weight) if bias is None else (input, weight, bias)
    watched = has_torch_function(given) and all(type(each) in PLAIN for each in tensors)  # by a mode, not by a subclass
    if watched:
        output: Tensor = handle_torch_function(dense, given, *given)
    elif _fits(tensors):
        output = _Dense.apply(*given)  # type: ignore[no-untyped-call]
    else:
        output = F.linear(input, weight, bias)
    return output


def _fits(tensors: tuple[Tensor, ...]) -> bool:
    # First, since whoever transforms or traces may have no answer to the other questions, or take them for conditions.
    if not is_plain(*tensors):
        return False
    input, weight, *bias = tensors
    return (
        input.ndim == weight.ndim == 2
        and input.shape[1] == weight.shape[1]
        and all(each.shape == weight.shape[:1] for each in bias)
        and input.numel() * len(weight) >= _LEAST
        and all(each.dtype == torch.float32 and each.device.type == "cpu" for each in tensors)
        and all(each.layout == torch.strided and each.is_contiguous() for each in tensors)
        and not torch.is_autocast_enabled("cpu")
        and _has_onednn()
    )


def _has_onednn() -> bool:
    """Whether this build of PyTorch has the product, which belongs to no documented interface, and may use it."""
    backend = torch.backends.mkldnn
    found: bool = backend.is_available()  # type: ignore[no-untyped-call]
    return found and bool(backend.enabled) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _times(
    left: Float[Tensor, "row inner"], right: Float[Tensor, "column inner"], bias: Tensor | None = None
) -> Float[Tensor, "row column"]:
    """Returns left right' + bias by oneDNN."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return product


class _Dense(torch.autograd.Function):
    """The three products of a linear layer."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        of_input, of_weight, _ = ctx.needs_input_grad
        # No more than is needed: what is not kept may be changed in place before the backward pass, as in PyTorch's.
        ctx.save_for_backward(input if of_weight else None, weight if of_input else None)
        return _times(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        product: Callable[[Tensor, Tensor], Tensor] = F.linear  # has a derivative, and takes batches of gradients
        if not torch.is_grad_enabled() and is_plain(gradient):
            product, gradient = _times, gradient.contiguous()
        return (
            product(gradient, weight.t()) if of_input else None,
            product(gradient.t(), input.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )
