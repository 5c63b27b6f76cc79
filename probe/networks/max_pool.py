"""Max pooling that keeps one byte of each window for its backward pass, where PyTorch keeps eight."""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from probe.arrays import NDArray
from probe.kernels import kernels
from probe.networks.plain import is_plain

_ALONE, _TOGETHER = "probe.networks.pool_kernel", "probe.networks.pool_team"
"""Kernels for one thread and for several."""
_LAYOUT = torch.channels_last
_BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
_WINDOW = {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "return_indices": False, "ceil_mode": False}


class MaxPool(nn.MaxPool2d):
    """Max pooling: a compiled form for what training on a CPU has, else PyTorch's own; both give the same bits.

    The compiled form takes windows of 3 x 3, two pixels apart, on images of even sides in channels-last memory, in
    float32 or bfloat16, while nothing watches, transforms or traces the network. On several threads it needs PyTorch's
    own (`probe.team`).
    """

    def forward(self, input: Float[Tensor, "*batch channel height width"]) -> Any:
        """Returns the largest value of each window; a tuple with its index if `return_indices` is set."""
        kernel = _kernel() if is_plain(input) and self._fits(input) else None
        return _Pooled.apply(input, kernel) if kernel else super().forward(input)  # type: ignore[no-untyped-call]

    def _fits(self, input: Tensor) -> bool:
        return (
            all(getattr(self, name) == value for name, value in _WINDOW.items())
            and input.device.type == "cpu"
            and input.dtype in _BITS
            and input.ndim == 4
            and input.numel() > 0
            and input.shape[2] % 2 == input.shape[3] % 2 == 0
            and input.is_contiguous(memory_format=_LAYOUT)
        )


def _kernel() -> ModuleType | None:
    if torch.get_num_threads() == 1:
        return kernels(_ALONE)
    together = kernels(_TOGETHER)
    return together if together and together.is_pytorchs() else None


class _Pooled(torch.autograd.Function):
    """The compiled form."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, kernel: ModuleType) -> Tensor:
        batch, channels, height, width = images.shape
        rows, columns = height // 2, width // 2
        pooled = torch.empty((batch, channels, rows, columns), dtype=images.dtype, memory_format=_LAYOUT)
        places = torch.empty((batch, rows + 1, columns + 1, channels), dtype=torch.uint8)
        kernel.pool(_bits(images), _bits(pooled), places.numpy())
        ctx.kernel = kernel
        ctx.save_for_backward(places)
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        if torch.is_grad_enabled() or not is_plain(gradient):
            return _spread(gradient, places), None
        batch, channels, rows, columns = gradient.shape
        images = torch.empty((batch, channels, 2 * rows, 2 * columns), dtype=gradient.dtype, memory_format=_LAYOUT)
        written = _bits(images)
        ctx.kernel.spread(_bits(gradient), places.numpy(), written, written, written, written)
        return images, None


def _bits(images: Tensor) -> NDArray[Any]:
    """Views numbers as integers, (batch, height, width, channel)."""
    laid = images.detach().contiguous(memory_format=_LAYOUT)
    bits: NDArray[Any] = laid.view(_BITS[laid.dtype]).permute(0, 2, 3, 1).numpy()
    return bits


def _spread(
    gradient: Float[Tensor, "batch channel row column"], places: UInt8[Tensor, "batch row+1 column+1 channel"]
) -> Tensor:
    """The backward pass in PyTorch's operations, which has a derivative of its own."""
    batch, channels, rows, columns = gradient.shape
    place = places[:, :-1, :-1].permute(0, 3, 1, 2).long()
    row = 2 * torch.arange(rows)[:, None] + place // 3 - 1
    column = 2 * torch.arange(columns) + place % 3 - 1
    pixel = (2 * columns * row + column).flatten(2)
    images = gradient.new_zeros(batch, channels, 4 * rows * columns)
    spread = images.scatter_add(2, pixel, gradient.reshape(batch, channels, -1))
    return spread.reshape(batch, channels, 2 * rows, 2 * columns)
