"""Whether a kernel of our own may take a tensor: only what PyTorch computes here and now, with nobody looking."""

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.overrides import has_torch_function

PLAIN = (Tensor, nn.Parameter)
"""Types of tensors that bring no behaviour of their own."""


def is_plain(*tensors: Tensor) -> bool:
    """Whether nothing watches, transforms or traces what is computed with these tensors."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or has_torch_function(tensors)
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or any(_is_special(each) for each in tensors)
    )


def _is_special(tensor: Tensor) -> bool:
    return (
        type(tensor) not in PLAIN
        or not torch._C._has_storage(tensor)  # a batch of gradients
        or unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
    )
