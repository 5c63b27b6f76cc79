"""Linear layers by oneDNN compute what PyTorch's do, and give way where they do not fit."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.networks import build, dense, preset
from probe.networks.dense import Dense
from probe.networks.spectral import add_spectral_norm

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
ROWS, FEATURES, UNITS = 24, 160, 72
SHAPES = [(1, 1, 1), (1, 7, 3), (5, 1, 9), (64, 256, 15), (33, 300, 129)]


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products would be left to PyTorch."""
    monkeypatch.setattr(dense, "_LEAST", 1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(bias: bool = True, features: int = FEATURES, units: int = UNITS) -> Dense:
    made = Dense(features, units, bias)
    with torch.no_grad():
        for seed, each in enumerate(made.parameters()):
            each.copy_(drawn(*each.shape, seed=seed + 5))
    return made


def is_onednns(value: Tensor) -> bool:
    return "_Dense" in type(value.grad_fn).__name__


def value_and_gradients(of: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    value = of(x)
    weights = drawn(*value.shape, seed=1).to(value.dtype)
    return [value.detach(), *torch.autograd.grad(value, [x, *of.parameters()], weights)]


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("rows", "features", "units"), SHAPES)
def test_values_and_gradients_are_those_of_double_precision(
    rows: int, features: int, units: int, threads: int, bias: bool
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    own, x = layer(bias, features, units), drawn(rows, features)
    assert is_onednns(own(x))
    found, expected = value_and_gradients(own, x), value_and_gradients(deepcopy(own).double(), x.double())
    torch.set_num_threads(before)
    assert len(found) == 3 + bias
    for each, other in zip(found, expected, strict=True):
        torch.testing.assert_close(each.double(), other, rtol=1e-5, atol=1e-4)


@needs_onednn
def test_products_of_whole_numbers_are_exact() -> None:
    own, x = layer(), drawn(ROWS, FEATURES).round()
    with torch.no_grad():
        own.weight.round_(), own.bias.round_()
    plain = nn.Linear(FEATURES, UNITS)
    plain.load_state_dict(own.state_dict())
    x = x.requires_grad_()
    gradient = drawn(ROWS, UNITS, seed=3).round()
    for network in (own, plain):
        network.zero_grad()
    found = torch.autograd.grad(own(x), [x, *own.parameters()], gradient)
    expected = torch.autograd.grad(plain(x), [x, *plain.parameters()], gradient)
    assert is_onednns(own(x)) and torch.equal(own(x), plain(x))
    assert all(torch.equal(each, other) for each, other in zip(found, expected, strict=True))


@needs_onednn
def test_nan_and_infinity_go_where_they_go_in_pytorch() -> None:
    x = drawn(ROWS, FEATURES)
    x[3, 5], x[7, 2] = float("nan"), float("inf")
    own = layer()
    found, expected = own(x), F.linear(x, own.weight, own.bias)
    assert torch.equal(found.isnan(), expected.isnan()) and torch.equal(found.isinf(), expected.isinf())
    assert int(found.isnan().sum()) == UNITS


def other_inputs() -> dict[str, tuple[Dense, Tensor]]:
    own, x = layer(), drawn(ROWS, FEATURES)
    return {
        "double precision": (deepcopy(own).double(), x.double()),
        "brain floats": (deepcopy(own).bfloat16(), x.bfloat16()),
        "one row": (own, x[0]),
        "rows of rows": (own, x.view(4, 6, FEATURES)),
        "no rows": (own, x[:0]),
        "rows apart": (own, drawn(ROWS, 2 * FEATURES)[:, ::2]),
        "a row again and again": (own, x[:1].expand(ROWS, -1)),
    }


@pytest.mark.parametrize("case", other_inputs())
def test_what_onednn_does_not_take_goes_to_pytorchs(case: str) -> None:
    own, x = other_inputs()[case]
    assert not is_onednns(own(x))
    assert torch.equal(own(x), F.linear(x, own.weight, own.bias))


def test_small_products_and_autocast_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    own, x = layer(), drawn(ROWS, FEATURES)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_onednns(own(x)) and own(x).dtype == torch.bfloat16
    monkeypatch.setattr(dense, "_LEAST", ROWS * FEATURES * UNITS + 1)
    assert not is_onednns(own(x))
    monkeypatch.setattr(dense, "_LEAST", ROWS * FEATURES * UNITS)
    assert is_onednns(own(x)) == torch.backends.mkldnn.is_available()


def test_without_onednn_pytorchs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not is_onednns(layer()(drawn(ROWS, FEATURES)))


def test_onednn_that_is_switched_off_is_not_taken() -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        assert not is_onednns(layer()(drawn(ROWS, FEATURES)))


def test_weights_and_biases_that_do_not_fit_are_left_to_pytorch() -> None:
    own, x = layer(), drawn(ROWS, FEATURES)
    assert dense._fits((x, own.weight, own.bias)) == torch.backends.mkldnn.is_available()
    others = [(drawn(ROWS, FEATURES + 1), own.weight, own.bias), (x, own.weight[0], own.bias)]
    others += [(x, own.weight, drawn(*shape)) for shape in [(1,), (1, UNITS), (ROWS, UNITS), (ROWS, 1)]]
    others += [(x, own.weight.t().contiguous().t(), own.bias), (x, own.weight, drawn(2 * UNITS)[::2])]
    others += [(x, own.weight.double(), own.bias), (x, own.weight, own.bias.double())]
    assert not any(dense._fits(each) for each in others)


@needs_onednn
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_only_what_the_gradient_needs_is_kept(wanted: tuple[int, ...]) -> None:
    own = layer()
    x = drawn(ROWS, FEATURES).requires_grad_()
    given = [x, own.weight, own.bias]
    expected = value_and_gradients(own, x)[1:]
    for at, each in enumerate(given):
        each.requires_grad_(at in wanted)
    value = own(x)
    with torch.no_grad():  # as an optimiser's step, or a buffer that is used again
        if 1 not in wanted:
            x.zero_()
        if 0 not in wanted:
            own.weight.zero_()
    found = torch.autograd.grad(value, [given[at] for at in wanted], drawn(ROWS, UNITS, seed=1))
    assert all(torch.equal(each, expected[at]) for each, at in zip(found, wanted, strict=True))


@needs_onednn
def test_what_is_frozen_has_no_gradient_and_the_rest_is_the_same() -> None:
    own, x = layer(), drawn(ROWS, FEATURES)
    whole = value_and_gradients(own, x)
    own.weight.requires_grad_(False)
    own(x).backward(drawn(ROWS, UNITS, seed=1))
    assert own.weight.grad is None and own.bias.grad is not None and torch.equal(own.bias.grad, whole[3])
    assert not own.requires_grad_(False)(x).requires_grad


@needs_onednn
def test_a_spectrally_normalised_layer_has_the_gradient_of_pytorchs() -> None:
    own, x = layer(), drawn(ROWS, FEATURES)
    plain = nn.Linear(FEATURES, UNITS)
    plain.load_state_dict(own.state_dict())
    for each in (own, plain):
        add_spectral_norm(each)
    assert is_onednns(own(x))
    for found, expected in zip(value_and_gradients(own, x), value_and_gradients(plain, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_the_networks_of_presets_compute_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    times = dense._times
    monkeypatch.setattr(dense, "_times", lambda *given: calls.append(tuple(given[0].shape)) or times(*given))
    own = build(preset("impala", (32, 32, 3), 5, 32), torch.Generator().manual_seed(0))
    observations = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    outputs = own(observations)
    assert calls == [(6, 512), (6, 32), (6, 32)]
    (outputs["actor"].square().mean() + outputs["critic"].mean()).backward()
    assert len(calls) == 9
