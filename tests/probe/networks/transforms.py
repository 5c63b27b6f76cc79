"""What PyTorch can do with a network besides running it; a kernel of our own must give way to each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

Transform = Callable[[nn.Sequential, Tensor], Tensor]
"""Takes a network and a batch of its inputs."""


def gradients_of_each(of: nn.Sequential, x: Tensor) -> Tensor:
    parameters = {name: each.detach() for name, each in of.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(of, weights, (x[None],)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    return torch.cat([each.flatten(1) for each in found.values()], 1)


def tangent_of(of: nn.Sequential, x: Tensor) -> Tensor:
    return torch.func.jvp(of, (x,), (x.sin(),))[1]


def dual_tangent_of(of: nn.Sequential, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        tangent: Tensor = forward_ad.unpack_dual(of(forward_ad.make_dual(x, x.sin()))).tangent
    return tangent


def batched_backward_of(of: nn.Sequential, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    output = of(x)
    rows = torch.eye(output.numel()).view(-1, *output.shape)
    wanted = [x, *of.parameters()]
    found = torch.autograd.grad(output, wanted, rows, is_grads_batched=True)
    return torch.cat([each.flatten(1) for each in found], 1)


def an_ensemble_of_ends(of: nn.Sequential, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    features = of[:-1](x)
    ends = torch.randn(4, 2, features.shape[1], generator=torch.Generator().manual_seed(2))
    value = torch.func.vmap(lambda end: nn.functional.linear(of[:-1](x), end))(ends)
    return torch.autograd.grad(value.square().sum(), x)[0]


def second_derivative_of(of: nn.Sequential, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    wanted = [x, *of.parameters()]
    first = torch.autograd.grad(of(x).pow(3).sum(), wanted, create_graph=True)
    whole = torch.cat([each.flatten() for each in first])
    second = torch.autograd.grad(whole.square().sum(), wanted)
    return torch.cat([each.flatten() for each in second])


TRANSFORMS: list[Transform] = [
    gradients_of_each,
    tangent_of,
    dual_tangent_of,
    batched_backward_of,
    an_ensemble_of_ends,
    second_derivative_of,
]
