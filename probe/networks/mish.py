"""Mish with one exponential and no other transcendental function, for training on a CPU.

Source: Misra 2019, arXiv:1908.08681. With e = exp z and n = e (e + 2), tanh(log(1 + e)) is n / (n + 2), and its
derivative 4 (n - e) / (n + 2)^2.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import has_torch_function

_LARGEST = 20.0
"""From here on n / (n + 2) is 1, in double precision too; n and 1 / (n + 2)^2 stay within float32's range."""
_CACHED = 1 << 16
"""Elements that are computed at once, so that what comes between stays in the cache."""


class _MishWithSlope(torch.autograd.Function):
    """Mish that keeps its slope: most of what it takes is there already, and backward is one product."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        value, slope = torch.empty_like(z), torch.empty_like(z)
        rows = max(1, _CACHED * len(z) // max(1, z.numel()))
        blocks = zip(*(torch.split(each, rows) for each in (z, value, slope)), strict=True)
        for part, its_value, its_slope in blocks:
            # In float32 at least: n - e in bfloat16 would leave two digits.
            wide = part.to(torch.promote_types(z.dtype, torch.float32))
            low = wide.clamp(max=_LARGEST)
            e = low.exp()
            n = (e + 2).mul_(e)
            inverse = (n + 2).reciprocal_()
            gate = n * inverse
            its_slope.copy_(torch.addcmul(gate, n.sub_(e).mul_(inverse), inverse.mul_(low), value=4))
            its_value.copy_(gate.mul_(wide))
        ctx.save_for_backward(z, slope)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        z, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives are asked for, which the kept slope has none of
            slope = torch.autograd.grad(F.mish(z).sum(), z, create_graph=True)[0]
        product: Tensor = gradient * slope
        return product


class Mish(nn.Mish):
    """z tanh(log(1 + exp z)): a faster form in training on a CPU, else PyTorch's own.

    The two agree to rounding. Whoever watches PyTorch's nonlinearities sees PyTorch's own. The transforms of
    `torch.func` need it too: put the network in eval mode for them.
    """

    def forward(self, input: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Returns the function of each element."""
        if not self.training or input.device.type != "cpu" or has_torch_function((input,)):
            return super().forward(input)
        value: Tensor = _MishWithSlope.apply(input)  # type: ignore[no-untyped-call]
        return value
