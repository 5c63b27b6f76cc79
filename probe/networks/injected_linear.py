"""A linear layer with an injected pair, in the form of public on-policy code."""

import copy
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probe.networks.dense import Dense


class InjectedLinear(Dense):
    """W x + A x - B x with A = B at injection, where W and A learn and B is frozen.

    Gradients reach the input through W and A, and not through B. Source: the `Injector` of Juliani & Ash 2024,
    arXiv:2405.19153. It is not the method of Nikishin et al. 2023, in which W is frozen and a linear layer would learn
    as if nothing had been injected.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        """Builds W, A (`added`) and B (`frozen`), A and B alike."""
        super().__init__(inputs, outputs, bias)
        self._add_pair()

    @classmethod
    def of(cls, layer: nn.Linear) -> "InjectedLinear":
        """Turns a linear layer into one with a pair, in place: whoever holds the layer or its parameters still does."""
        if not isinstance(layer, cls):
            layer.__class__ = cls
            cast(InjectedLinear, layer)._add_pair()
        return cast(InjectedLinear, layer)

    def _add_pair(self) -> None:
        self.added = Dense(self.in_features, self.out_features, self.bias is not None).to(self.weight.device)
        self.frozen = copy.deepcopy(self.added).requires_grad_(False)

    def forward(self, input: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """Returns the sum; the difference first, which is exactly 0 at injection."""
        total: Tensor = super().forward(input) + (self.added(input) - self.frozen(input).detach())
        return total

    @torch.no_grad()
    def inject(self, fresh: nn.Linear) -> None:
        """Folds A - B into W and starts a new pair from the parameters of a newly drawn layer; the function stays."""
        for name, parameter in self.frozen.named_parameters():
            self.get_parameter(name).add_(self.added.get_parameter(name) - parameter)
            for part in (self.added, self.frozen):
                part.get_parameter(name).copy_(fresh.get_parameter(name))
