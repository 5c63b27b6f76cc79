"""Mish in training is PyTorch's Mish: values, gradients, extremes, precisions, and what watches it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.capture import capture
from probe.lipschitz import lipschitz_bound
from probe.networks.mish import Mish

EXTREMES = [-1e30, -1e4, -104.0, -88.0, -20.0, -0.0, 0.0, 1e-30, 19.9, 20.1, 44.0, 89.0, 1e4, 1e30]


def inputs(dtype: torch.dtype = torch.float32) -> Tensor:
    spread = 4 * torch.randn((64, 6, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fine = torch.linspace(-25, 25, 600, dtype=torch.float64)
    return torch.cat([spread.flatten(), fine, torch.tensor(EXTREMES, dtype=torch.float64)]).to(dtype)


def value_and_gradient(module: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    z = z.clone().requires_grad_()
    value = module(z)
    weights = torch.linspace(-1, 2, len(z), dtype=z.dtype).view(-1, *[1] * (z.ndim - 1)).expand_as(z)
    return value.detach(), torch.autograd.grad(value, z, weights)[0]


def test_values_and_gradients_are_those_of_double_precision() -> None:
    value, gradient = value_and_gradient(Mish(), inputs())
    expected, slope = (each.float() for each in value_and_gradient(nn.Mish(), inputs().double()))
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)]
)
def test_values_and_gradients_are_pytorchs_in_every_precision(dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = (value_and_gradient(module, inputs(dtype)) for module in (Mish(), nn.Mish()))
    for own, other in zip(ours, theirs, strict=True):
        assert own.dtype == dtype
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


def test_what_is_not_finite_stays_so() -> None:
    value, gradient = value_and_gradient(Mish(), torch.tensor([float("nan"), float("inf")]))
    assert value[0].isnan() and gradient[0].isnan() and value[1] == float("inf")


def test_acting_takes_pytorchs_own() -> None:
    z = inputs()
    assert torch.equal(Mish().eval()(z), F.mish(z))


@pytest.mark.parametrize("training", [True, False])
def test_first_and_second_derivatives_are_those_of_finite_differences(training: bool) -> None:
    z = torch.linspace(-3, 3, 7, dtype=torch.float64).requires_grad_()
    module = Mish().train(training)
    assert torch.autograd.gradcheck(module, (z,)) and torch.autograd.gradgradcheck(module, (z,))


def test_images_larger_than_the_cache_keep_their_layout_and_the_input_its_values() -> None:
    z = 3 * torch.randn((75, 3, 20, 20), generator=torch.Generator().manual_seed(0))
    z = z.to(memory_format=torch.channels_last)
    before = z.clone()
    (value, gradient), (expected, slope) = (value_and_gradient(module, z) for module in (Mish(), nn.Mish()))
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=2e-6)
    assert value.is_contiguous(memory_format=torch.channels_last) and torch.equal(z, before)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_captured_and_bounded_as_pytorchs_mish(training: bool) -> None:
    z, seen = inputs()[None, :50], []
    network = nn.Sequential(nn.Linear(50, 4), Mish()).train(training)
    with capture(network, lambda layer, output, _: seen.append((layer.id, layer.function, output.shape))):
        network(z)
    assert seen == [("1", "mish", (1, 4))]
    assert lipschitz_bound(network[1], {}) == lipschitz_bound(nn.Mish(), {})
