"""How much a module can stretch a distance: a bound from its layers, and the most that pairs of inputs show."""

from collections.abc import Mapping
from math import ceil, prod, sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probe.networks.activations import CReLU, Fourier
from probe.networks.stages import Residual

_CONSTANT = (
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.CELU),
    *(CReLU, Fourier),
    *(nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout2d),
)
"""Stages that stretch no distance, in eval mode."""
_SMOOTH: dict[type[nn.Module], float] = {nn.GELU: 1.13, nn.SiLU: 1.1, nn.Mish: 1.09, nn.Hardswish: 1.5, nn.SELU: 1.7581}
"""Non-monotone and scaled functions: their steepest slope, rounded up."""
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


def lipschitz_bound(module: nn.Module, norms: Mapping[nn.Module, float]) -> float | None:
    """Returns a Euclidean Lipschitz constant of a module in eval mode; None where a stage has none known.

    Stages in a row multiply; a residual block adds 1. A max pooling passes a pixel's change on to each of the windows
    that hold it, ceil(kernel / stride) an axis, so its constant is the root of their number: 1 without overlap.

    Args:
        module: A stage, or a container of stages.
        norms: The operator norm of each weight layer.
    """
    if module in norms:
        return norms[module]
    if isinstance(module, Residual) or type(module).forward is nn.Sequential.forward:
        # Not `children()`, which leaves out the second use of a stage.
        stages: Any = module
        inner = [lipschitz_bound(stage, norms) for stage in stages]
        known = [each for each in inner if each is not None]
        if len(known) < len(inner):
            return None
        product: float = prod(known, start=1.0)
        return product + (1.0 if isinstance(module, Residual) else 0.0)
    return _stage_constant(module)


def _stage_constant(module: nn.Module) -> float | None:
    stage: Any = module
    if isinstance(module, _CONSTANT):
        return 1.0
    if isinstance(module, nn.LeakyReLU):
        return float(max(1.0, abs(stage.negative_slope)))
    if isinstance(module, nn.ELU):
        return float(max(1.0, stage.alpha))
    if isinstance(module, nn.PReLU):
        return float(max(1.0, stage.weight.detach().abs().max().item()))
    if isinstance(module, _POOLS):
        return sqrt(_overlap(stage))
    if isinstance(module, _NORMS) and stage.running_var is not None:
        gain = 1.0 if stage.weight is None else stage.weight.detach().double()
        return float((gain / (stage.running_var.double() + stage.eps).sqrt()).abs().max())
    return next((steepest for kind, steepest in _SMOOTH.items() if isinstance(module, kind)), None)


def _overlap(pool: Any) -> int:
    dimensions = next(count for count, kind in enumerate(_POOLS, start=1) if isinstance(pool, kind))
    sizes, steps, spreads = (_each(value, dimensions) for value in (pool.kernel_size, pool.stride, pool.dilation))
    return prod(k if d > 1 else ceil(k / s) for k, s, d in zip(sizes, steps, spreads, strict=True))


def _each(value: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    return (value,) * dimensions if isinstance(value, int) else tuple(value)


def largest_ratio(inputs: Float[Tensor, "batch ..."], outputs: Float[Tensor, "batch ..."]) -> float | None:
    """Returns the largest |f(x) - f(y)| / |x - y| over all pairs; None where no two inputs differ.

    Distances are summed differences: the shorter way over inner products loses close pairs to rounding.
    """
    before, after = (torch.pdist(each.flatten(1).double()) for each in (inputs, outputs))
    apart = before > 0
    return float((after[apart] / before[apart]).max()) if bool(apart.any()) else None
