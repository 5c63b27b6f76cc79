"""Which layers a bias follows: past pooling, through parametrisations, and not where nothing can take a constant."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from probe.folding import foldable_layers
from probe.networks import build, preset, preset_names


def dense(*stages: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), *stages)


class Twice(nn.Module):
    """One rectifier, read by a linear layer and then by a function without a module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.first(x))))
        return F.linear(hidden, self.first.weight, self.first.bias)


CASES: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "linear": (lambda: dense(nn.Linear(8, 2)), {"1"}),
    "no bias": (lambda: dense(nn.Linear(8, 2, bias=False)), set()),
    "normalised": (lambda: dense(nn.LayerNorm(8), nn.Linear(8, 2)), set()),
    "parametrised": (lambda: dense(parametrizations.spectral_norm(nn.Linear(8, 2))), {"1"}),
    "dropout": (lambda: dense(nn.Dropout(), nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 2, bias=False)), {"1"}),
    "nothing": (lambda: dense(nn.Identity()), set()),
    "function": (Twice, {":relu"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bias_that_runs_next_can_take_a_constant(case: str) -> None:
    make, expected = CASES[case]
    network = make().eval()
    assert foldable_layers(network, torch.randn(2, 4)) == expected
    assert not any(module._forward_pre_hooks for name, module in network.named_modules())


def test_a_channel_is_read_past_pooling_and_flattening() -> None:
    head = (nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), *head)
    assert foldable_layers(network, torch.randn(1, 1, 12, 12)) == {"1", "4"}


@pytest.mark.parametrize("name", preset_names())
def test_all_layers_of_our_networks_can_be_folded(name: str) -> None:
    shape = (4,) if name == "mlp" else (64, 64, 3)
    network = build(preset(name, shape, 5, 16), torch.Generator().manual_seed(0)).eval()
    relus = {path for path, module in network.named_modules() if isinstance(module, nn.ReLU)}
    assert foldable_layers(network, torch.zeros(1, *shape)) == relus
