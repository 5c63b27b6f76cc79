"""The true operator norm of a linear map and of a convolution, which the norm of the reshaped kernel is not."""

from collections.abc import Callable, Iterator
from itertools import product
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F

from probe.weights import CONVOLUTIONS, TRANSPOSED

Map = Callable[[Tensor], Tensor]
_DENSE = 512
"""Inputs up to which the map is written out as a matrix; Lanczos needs room for its vectors."""
_RESIDUAL = 1e-10
_FORWARD: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_BACKWARD: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def power_estimates(matrix: Float[Tensor, "out rest"], starts: Float[Tensor, "out start"]) -> Iterator[Tensor]:
    """Yields the estimate |Wv| of the largest singular value after 1, 2, ... iterations, one per start, without end.

    An iteration is v = W'u / |W'u|, u = Wv / |Wv|. No estimate is above the true value. A zero matrix gives 0.
    """
    u = F.normalize(starts, dim=0)
    while True:
        image = matrix @ F.normalize(matrix.T @ u, dim=0)
        yield image.norm(dim=0)
        u = F.normalize(image, dim=0)


def map_norm(forward: Map, shape: tuple[int, ...], generator: torch.Generator) -> float:
    """Returns the largest singular value of a linear map, to a relative 1e-10.

    Lanczos on the map and its transpose: the products are those of power iteration, but what they span is used whole,
    so that two close singular values do not stop it. A small map is written out and decomposed.

    Args:
        forward: Float64 (batch, *shape) -> (batch, ...), without an offset.
        shape: Of one input.
        generator: Draws the start.
    """
    size = prod(shape)
    if size <= _DENSE:
        rows = forward(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1)
        return float(torch.linalg.matrix_norm(rows, 2))

    def gram(vector: Any) -> Any:
        # The derivative of a linear map, applied from the left, is its transpose: for a convolution conv_transpose.
        with torch.enable_grad():
            given = torch.from_numpy(np.array(vector, dtype=np.float64)).reshape(1, *shape).requires_grad_()
            image = forward(given)
            return torch.autograd.grad(image, given, image.detach())[0].flatten().numpy()

    start = torch.randn(size, generator=generator, dtype=torch.float64).numpy()
    if not gram(start).any():
        return 0.0
    operator = LinearOperator((size, size), matvec=gram, dtype=np.float64)
    largest = eigsh(operator, k=1, which="LA", v0=start, tol=_RESIDUAL, return_eigenvectors=False)
    return sqrt(max(float(largest[0]), 0.0))


def convolution_norm(module: nn.Module, weight: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> float:
    """Returns the operator norm of a (transposed) convolution at its own stride, padding, dilation and input size.

    Args:
        module: The layer, for its settings.
        weight: The weight that it uses.
        shape: (channel, *space) of its input.
        generator: Draws the start.
    """
    return map_norm(_linear_map(module, weight.detach().double()), shape, generator)


def _linear_map(module: nn.Module, weight: Tensor) -> Map:
    settings: Any = module
    dimensions = weight.ndim - 2
    if isinstance(module, TRANSPOSED):
        return lambda given: _BACKWARD[dimensions](
            given, weight, None, settings.stride, settings.padding, settings.output_padding, settings.groups,
            settings.dilation,
        )  # fmt: skip
    forward = _FORWARD[dimensions]
    if settings.padding_mode == "zeros":
        return lambda given: forward(
            given, weight, None, settings.stride, settings.padding, settings.dilation, settings.groups
        )
    around, mode = settings._reversed_padding_repeated_twice, settings.padding_mode
    return lambda given: forward(
        F.pad(given, around, mode=mode), weight, None, settings.stride, 0, settings.dilation, settings.groups
    )


def circular_norm(
    weight: Float[Tensor, "out in height width"], space: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> float | None:
    """Returns the exact operator norm of a convolution on a periodic image (Sedghi, Gupta & Long 2019 at stride 1).

    At a larger stride the image is split into its stride x stride interleaved grids, as channels of a convolution at
    stride 1; None where the stride does not divide the image, which then has no period to speak of.
    """
    if any(side % step for side, step in zip(space, stride, strict=True)):
        return None
    transfer = _transfer(weight.detach().double(), space, stride)
    if transfer.shape[-2] > transfer.shape[-1]:
        transfer = transfer.mH
    # The smaller Gram matrix: squaring costs the small singular values their digits, not the largest.
    return float(torch.linalg.eigvalsh(transfer @ transfer.mH)[..., -1].max().clamp(min=0).sqrt())


def _transfer(weight: Tensor, space: tuple[int, int], stride: tuple[int, int]) -> Complex[Tensor, "... out in"]:
    """Returns the matrix of each frequency; conjugate frequencies have the same singular values and are left out."""
    out, channels = weight.shape[:2]
    coarse = (space[0] // stride[0], space[1] // stride[1])
    kernel = torch.zeros(out, channels, *stride, *coarse, dtype=torch.float64)
    for row, column in product(range(weight.shape[2]), range(weight.shape[3])):
        phase = (row % stride[0], column % stride[1])
        place = (row // stride[0] % coarse[0], column // stride[1] % coarse[1])
        # Added: a kernel larger than the image meets itself.
        kernel[:, :, phase[0], phase[1], place[0], place[1]] += weight[:, :, row, column]
    frequencies: Tensor = torch.fft.rfft2(kernel)
    return frequencies.flatten(1, 3).permute(2, 3, 0, 1)


def patch_bound(module: nn.Module) -> float:
    """Returns sqrt(prod ceil(kernel / stride)): operator norm over reshaped norm of a convolution is at most this.

    Every pixel enters at most so many patches. Without dilation; with it, a pixel can enter one patch an element.
    """
    settings: Any = module
    overlaps = [
        size if spread > 1 else -(-size // step)
        for size, step, spread in zip(settings.kernel_size, settings.stride, settings.dilation, strict=True)
    ]
    return sqrt(prod(overlaps))


def is_convolution(module: nn.Module) -> bool:
    """Whether a layer is a convolution, transposed or not."""
    return isinstance(module, (*CONVOLUTIONS, *TRANSPOSED))
