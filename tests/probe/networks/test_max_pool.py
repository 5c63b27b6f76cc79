"""The compiled max pooling is PyTorch's, bit for bit, and gives way where it does not fit."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.kernels import kernels
from probe.lipschitz import lipschitz_bound
from probe.networks import build, max_pool, preset
from probe.networks.max_pool import MaxPool

needs_numba = pytest.mark.skipif(kernels("probe.networks.pool_kernel") is None, reason="numba is not installed")


def needs_openmp(threads: int) -> Any:
    """Where PyTorch computes with another library than GNU's, several threads are left to it."""
    return pytest.param(threads, marks=pytest.mark.skipif(TEAM is None, reason="PyTorch's threads are not GNU's"))


TEAM = kernels("probe.networks.pool_team")
NAN, INFINITY = float("nan"), float("inf")
SHAPES = [(1, 1, 2, 2), (2, 3, 4, 6), (3, 16, 8, 8), (2, 24, 6, 4), (2, 40, 16, 10)]
CONTENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "random": lambda x: x,
    "ties": lambda x: x.round(),
    "zeros of both signs": lambda x: x.sign() * 0,
    "negative": lambda x: -x.abs(),
    "infinities and NaN": lambda x: x.round() / 0,
    "nothing but -inf": lambda x: torch.full_like(x, -INFINITY),
    "nothing but NaN": lambda x: torch.full_like(x, NAN),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.to(dtype).to(memory_format=torch.channels_last)


def value_and_gradient(pool: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    value = pool(x)
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(1)).to(value.dtype)
    return value.detach(), torch.autograd.grad(value, x, weights)[0]


def pytorchs(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2, 1)


def is_compiled(value: Tensor) -> bool:
    return "_Pooled" in type(value.grad_fn).__name__


def assert_same_bits(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype and torch.equal(found.isnan(), expected.isnan())
    kind = torch.int16 if found.dtype == torch.bfloat16 else torch.int32
    assert torch.equal(found.nan_to_num(0.0).view(kind), expected.nan_to_num(0.0).view(kind))


@needs_numba
@pytest.mark.parametrize("threads", [1, needs_openmp(2), needs_openmp(3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_pytorchs_bit_for_bit(
    shape: tuple[int, ...], content: str, dtype: torch.dtype, threads: int
) -> None:
    torch.set_num_threads(threads)
    x = CONTENTS[content](images(*shape, dtype=dtype))
    assert is_compiled(MaxPool(3, 2, 1)(x.requires_grad_()))
    for found, expected in zip(value_and_gradient(MaxPool(3, 2, 1), x), value_and_gradient(pytorchs, x), strict=True):
        assert_same_bits(found, expected)
        assert found.is_contiguous(memory_format=torch.channels_last)


@needs_numba
def test_each_single_nan_and_each_pair_of_ties_is_taken_from_the_pixel_that_pytorch_takes() -> None:
    pixels = torch.eye(16).view(16, 1, 4, 4)
    pairs = (pixels[:, None] + pixels[None]).view(-1, 1, 4, 4)
    for x in (pairs.clamp(max=1), torch.where(pairs > 0, NAN, pairs)):
        _, found = value_and_gradient(MaxPool(3, 2, 1), x)
        _, expected = value_and_gradient(pytorchs, x)
        assert torch.equal(found, expected)


@needs_numba
def test_a_pixel_has_the_sum_of_its_windows_by_hand() -> None:
    x = torch.tensor([[[[0.0, 1, 0, 0], [2, 9, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4]]]]).requires_grad_()
    value = MaxPool(3, 2, 1)(x)
    assert is_compiled(value) and value.tolist() == [[[[9, 9], [9, 9]]]]
    value.backward(torch.tensor([[[[1.0, 10], [100, 1000]]]]))
    assert x.grad is not None and x.grad[0, 0, 1, 1] == 1111 and x.grad.count_nonzero() == 1


@needs_numba
def test_values_and_gradients_are_those_of_unfolded_windows_in_double_precision() -> None:
    x = images(5, 20, 12, 14)
    (value, gradient), windows = value_and_gradient(MaxPool(3, 2, 1), x), x.double().requires_grad_()
    unfolded = F.unfold(F.pad(windows, (1, 1, 1, 1), value=-1e9), 3, stride=2).view(5, 20, 9, 6, 7)
    expected = unfolded.amax(2)
    assert torch.equal(value.double(), expected)
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(1)).double()
    (slope,) = torch.autograd.grad(expected, windows, weights)
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-6, atol=1e-6)


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_in_another_layout_is_the_same_gradient(dtype: torch.dtype) -> None:
    x = images(3, 16, 6, 8, dtype=dtype)
    for pool in (MaxPool(3, 2, 1), pytorchs):
        expanded = x.clone().requires_grad_()
        pool(expanded).sum().backward()
        full = x.clone().requires_grad_()
        pool(full).backward(torch.ones(3, 16, 3, 4, dtype=dtype))
        assert expanded.grad is not None and full.grad is not None and torch.equal(expanded.grad, full.grad)


@needs_numba
@pytest.mark.skipif(TEAM is None, reason="PyTorch's threads are not GNU's")
def test_networks_that_train_in_threads_of_their_own_do_not_meet() -> None:
    torch.set_num_threads(2)

    def differences(seed: int) -> int:
        x = images(7, 16, 8, 8).roll(seed, 0).requires_grad_()
        found = [value_and_gradient(pool, x) for _ in range(50) for pool in (MaxPool(3, 2, 1), pytorchs)]
        pairs = zip(found[::2], found[1::2], strict=True)
        return sum(not torch.equal(a, b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(differences, range(3))) == [0, 0, 0]


@needs_numba
def test_on_threads_that_are_not_in_reach_pytorchs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(max_pool, "kernels", lambda module: None if module.endswith("team") else kernels(module))
    x = images(5, 16, 8, 8).requires_grad_()
    assert not is_compiled(MaxPool(3, 2, 1)(x))
    torch.set_num_threads(1)
    assert is_compiled(MaxPool(3, 2, 1)(x))


def other_inputs() -> dict[str, tuple[nn.MaxPool2d, Tensor]]:
    pool, x = MaxPool(3, 2, 1), images(2, 3, 8, 6)
    return {
        "double precision": (pool, x.double()),
        "half precision": (pool, x.half()),
        "channels first": (pool, x.contiguous()),
        "odd height": (pool, images(2, 3, 7, 6)),
        "odd width": (pool, images(2, 3, 8, 5)),
        "one image": (pool, x[0]),
        "no image": (pool, x[:0]),
        "other windows": (MaxPool(2, 2, 0), x),
        "other steps": (MaxPool(3, 1, 1), x),
        "no border": (MaxPool(3, 2, 0), x),
        "spread windows": (MaxPool(3, 2, 1, dilation=2), images(2, 3, 8, 8)),
        "rounded up": (MaxPool(3, 2, 1, ceil_mode=True), x),
    }


@pytest.mark.parametrize("case", other_inputs())
def test_what_the_compiled_form_does_not_take_goes_to_pytorchs(case: str) -> None:
    pool, x = other_inputs()[case]
    plain = nn.MaxPool2d(pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode)
    assert not is_compiled(pool(x.detach().requires_grad_()))
    for found, expected in zip(value_and_gradient(pool, x), value_and_gradient(plain, x), strict=True):
        assert torch.equal(found, expected)


def test_indices_come_from_pytorch() -> None:
    value, indices = MaxPool(3, 2, 1, return_indices=True)(images(2, 3, 8, 6))
    expected = F.max_pool2d(images(2, 3, 8, 6), 3, 2, 1, return_indices=True)
    assert torch.equal(value, expected[0]) and torch.equal(indices, expected[1])


def test_without_numba_pytorchs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(max_pool, "kernels", lambda module: None)
    x = images(2, 16, 8, 8).requires_grad_()
    assert not is_compiled(MaxPool(3, 2, 1)(x))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_network_has_the_same_outputs_and_gradients_without_numba(
    monkeypatch: pytest.MonkeyPatch, precision: torch.dtype
) -> None:
    network = build(preset("impala", (32, 32, 3), 5, 32), torch.Generator().manual_seed(0))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    observations = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def results() -> list[Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            outputs = network(observations)
        (outputs["actor"].float().square().mean() + outputs["critic"].float().mean()).backward()
        return [outputs["actor"], *(each.grad.clone() for each in network.parameters() if each.grad is not None)]

    compiled = results()
    monkeypatch.setattr(max_pool, "kernels", lambda module: None)
    assert len(compiled) > 20
    for found, expected in zip(compiled, results(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives_are_pytorchs(training: bool) -> None:
    def second(pool: Callable[[Tensor], Tensor]) -> Tensor:
        x = images(2, 16, 8, 6).requires_grad_()
        (first,) = torch.autograd.grad(pool(x).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    torch.testing.assert_close(second(MaxPool(3, 2, 1).train(training)), second(pytorchs))


def test_a_copy_pools_too_nothing_is_added_to_the_state_and_the_bound_is_pytorchs() -> None:
    copy, x = deepcopy(MaxPool(3, 2, 1)), images(2, 16, 8, 6)
    assert not copy.state_dict() and torch.equal(copy(x), pytorchs(x))
    assert lipschitz_bound(copy, {}) == lipschitz_bound(nn.MaxPool2d(3, 2, 1), {})


@needs_numba
def test_a_graph_that_is_kept_gives_the_same_gradient_twice() -> None:
    x = images(2, 16, 8, 6).requires_grad_()
    value = MaxPool(3, 2, 1)(x)
    first, second = (torch.autograd.grad(value.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
