"""Convolutions whose float32 bias gradient is summed apart, where oneDNN's own sum holds up its weight gradient."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from probe.networks.plain import PLAIN, is_plain

_LEAST_CHANNELS = 32
"""From here on a backward pass with the sum apart took 0.66 to 1.01 of the time; of 16 channels it can be slower."""
_LAYOUT = torch.channels_last


class Convolution(nn.Conv2d):
    """A convolution: PyTorch's own, but for the bias gradient of float32 images in channels-last memory on a CPU.

    Values and all other gradients have PyTorch's bits. While something transforms or traces the network all is left to
    PyTorch.
    """

    def forward(self, input: Float[Tensor, "*batch channel height width"]) -> Float[Tensor, "*batch out row column"]:
        """Returns the convolution of images."""
        return convolve(self, input)


def convolve(layer: Convolution, input: Tensor) -> Tensor:
    """Returns a layer's convolution of images; who watches PyTorch's functions sees it as one."""
    output: Tensor
    if has_torch_function((input,)) and type(input) in PLAIN:  # watched by a mode, and no subclass
        output = handle_torch_function(convolve, (input,), layer, input)
        return output
    weight, bias = layer.weight, layer.bias
    if bias is not None and _fits(layer, input, weight, bias):
        output = _Convolved.apply(input, weight, bias, layer.stride, layer.padding)  # type: ignore[no-untyped-call]
    else:
        output = layer._conv_forward(input, weight, bias)
    return output


def _fits(layer: Convolution, input: Tensor, weight: Tensor, bias: Tensor) -> bool:
    tensors = (input, weight, bias)
    # First, since whoever transforms or traces may have no answer to the other questions.
    if not is_plain(*tensors):
        return False
    return (
        torch.is_grad_enabled()
        and bias.requires_grad
        and input.ndim == 4
        and input.numel() > 0
        and layer.out_channels >= _LEAST_CHANNELS
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and all(each.dtype == torch.float32 and each.device.type == "cpu" for each in tensors)
        and input.is_contiguous(memory_format=_LAYOUT)
        and not torch.is_autocast_enabled("cpu")
    )


class _Convolved(torch.autograd.Function):
    """A convolution and its gradients."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.steps = stride, padding
        return torch.conv2d(input, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias, _, _ = ctx.needs_input_grad
        found = torch.ops.aten.convolution_backward(
            gradient, input, weight, None, *ctx.steps, (1, 1), False, (0, 0), 1, (of_input, of_weight, False)
        )
        return *found[:2], gradient.sum((0, 2, 3)) if of_bias else None, None, None
