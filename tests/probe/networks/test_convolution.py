"""Convolutions whose bias gradient is summed apart compute what PyTorch's do, and give way where they do not fit."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from probe.networks import build, convolution, preset
from probe.networks.convolution import Convolution
from probe.networks.spectral import add_spectral_norm

FORMS = {
    "odd kernel": {"kernel_size": 3, "padding": 1},
    "steps": {"kernel_size": 4, "stride": 2, "padding": 1},
    "no border": {"kernel_size": 5, "stride": 3},
    "long kernel": {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 1)},
    "one pixel": {"kernel_size": 1},
}


def images(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(memory_format=torch.channels_last)


def layer(channels: int = 5, width: int = 32, **options: object) -> Convolution:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Convolution(channels, width, **{"kernel_size": 3, "padding": 1, **options})  # type: ignore[arg-type]
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def pytorchs(of: Convolution) -> nn.Conv2d:
    plain = nn.Conv2d(of.in_channels, of.out_channels, of.kernel_size, of.stride, of.padding, of.dilation, of.groups)
    plain.load_state_dict(of.state_dict())
    return plain.to(memory_format=torch.channels_last, dtype=of.weight.dtype)  # type: ignore[call-overload, no-any-return]


def sums_apart(value: Tensor) -> bool:
    return "_Convolved" in type(value.grad_fn).__name__


def value_and_gradients(of: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    value = of(x)
    weights = images(*value.shape, seed=1).to(value.dtype)
    return [value.detach(), *torch.autograd.grad(value, [x, *of.parameters()], weights)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [32, 40])
def test_only_the_bias_gradient_differs_from_pytorchs_and_by_rounding(form: str, width: int) -> None:
    own, x = layer(width=width, **FORMS[form]), images(6, 5, 12, 14)
    assert sums_apart(own(x))
    *found, bias = value_and_gradients(own, x)
    *expected, _ = value_and_gradients(pytorchs(own), x)
    for each, other in zip(found, expected, strict=True):
        assert torch.equal(each, other)
    *_, exact = value_and_gradients(deepcopy(own).double(), x.double())
    torch.testing.assert_close(bias.double(), exact, rtol=1e-5, atol=1e-5)


def test_the_bias_gradient_by_hand() -> None:
    own, x = layer(1, 32, kernel_size=2, padding=0), images(2, 1, 3, 3)
    gradient = torch.arange(32.0).view(1, 32, 1, 1).expand(2, 32, 2, 2)
    value = own(x)
    value.backward(gradient)
    assert sums_apart(value) and own.bias.grad is not None
    assert own.bias.grad.tolist() == [8 * unit for unit in range(32)]


def other_inputs() -> dict[str, tuple[Convolution, Tensor]]:
    own, x = layer(), images(2, 5, 8, 6)
    return {
        "double precision": (deepcopy(own).double(), x.double()),
        "brain floats": (deepcopy(own).bfloat16(), x.bfloat16()),
        "channels first": (own, x.contiguous()),
        "one image": (own, x[0]),
        "no image": (own, x[:0]),
        "few channels": (layer(width=31), x),
        "groups": (layer(4, 32, groups=2), images(2, 4, 8, 6)),
        "spread kernel": (layer(dilation=2), x),
        "padding by name": (layer(padding="same"), x),
        "no bias": (layer(bias=False), x),
    }


@pytest.mark.parametrize("case", other_inputs())
def test_what_does_not_fit_goes_to_pytorchs(case: str) -> None:
    own, x = other_inputs()[case]
    assert not sums_apart(own(x))
    expected = torch.conv2d(x, own.weight, own.bias, own.stride, own.padding, own.dilation, own.groups)
    assert torch.equal(own(x), expected)


def test_a_padding_of_the_pictures_own_pixels_goes_to_pytorchs() -> None:
    own, x = layer(padding_mode="circular"), images(2, 5, 8, 6)
    assert not sums_apart(own(x))
    torch.testing.assert_close(own(x)[..., 1:-1, 1:-1], layer(padding=0)(x))


def test_nothing_is_apart_where_there_is_no_gradient_to_take() -> None:
    own, x = layer(), images(2, 5, 8, 6).requires_grad_()
    given = (own, x, own.weight, own.bias)
    assert convolution._fits(*given)
    with torch.no_grad():
        assert not convolution._fits(*given)
    with torch.autocast("cpu", torch.bfloat16):
        assert not sums_apart(own(x)) and own(x).dtype == torch.bfloat16
    assert not convolution._fits(own, x, own.weight.double(), own.bias)
    own.bias.requires_grad_(False)
    assert not sums_apart(own(x))


def test_frozen_weights_and_images_get_no_gradient() -> None:
    own, x = layer(), images(2, 5, 8, 6)
    *_, expected = value_and_gradients(own, x)
    own.weight.requires_grad_(False)
    value = own(x)
    value.backward(images(*value.shape, seed=1))
    assert sums_apart(value) and own.weight.grad is None and x.grad is None
    assert own.bias.grad is not None and torch.equal(own.bias.grad, expected)


def test_a_spectrally_normalised_layer_has_the_gradients_of_pytorchs() -> None:
    own, x = layer(), images(2, 5, 8, 6)
    plain = pytorchs(own)
    for each in (own, plain):
        add_spectral_norm(each)
    assert sums_apart(own(x))
    for found, expected in zip(value_and_gradients(own, x), value_and_gradients(plain, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_convolutions_of_presets_sum_apart_from_32_channels_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, found = convolution._fits, []
    monkeypatch.setattr(convolution, "_fits", lambda *given: found.append(fits(*given)) or found[-1])
    own = build(preset("impala", (32, 32, 3), 5, 32), torch.Generator().manual_seed(0))
    own.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    own(torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)))
    assert found == [False] * 5 + [True] * 10
