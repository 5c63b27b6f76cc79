"""Layers with a form of our own: what PyTorch can do with a network besides running it sees PyTorch's, or the same."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from probe.capture import capture
from probe.networks import dense
from probe.networks.convolution import Convolution
from probe.networks.dense import Dense
from probe.networks.max_pool import MaxPool

Transform = Callable[[nn.Sequential, Tensor], Tensor]
"""Takes a network and a batch of its inputs."""


class Case(NamedTuple):
    """A network whose layers are of a kind that is given."""

    build: Callable[..., nn.Sequential]
    own: type[nn.Module]
    pytorchs: type[nn.Module]
    input_shape: tuple[int, ...]
    operation: str
    """PyTorch's, in a trace and in an exported program."""

    def network(self, kind: type[nn.Module]) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            built = self.build(kind)
        return built.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def inputs(self) -> Tensor:
        drawn = torch.randn(self.input_shape, generator=torch.Generator().manual_seed(0))
        return drawn.to(memory_format=torch.channels_last) if drawn.ndim == 4 else drawn


CASES: Mapping[str, Case] = {
    "linear layers": Case(
        lambda kind: nn.Sequential(kind(12, 16), nn.Tanh(), kind(16, 6), nn.Tanh(), nn.Linear(6, 2)),
        Dense,
        nn.Linear,
        (5, 12),
        "linear",
    ),
    "convolutions": Case(
        lambda kind: nn.Sequential(
            kind(2, 32, 2, 2), nn.Tanh(), kind(32, 32, 2), nn.Tanh(), nn.Flatten(), nn.Linear(64, 2)
        ),
        Convolution,
        nn.Conv2d,
        (3, 2, 4, 6),
        "conv",
    ),
    "max pooling": Case(
        lambda kind: nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), kind(3, 2, 1), nn.Tanh(), nn.Flatten(), nn.Linear(192, 2)
        ),
        MaxPool,
        nn.MaxPool2d,
        (3, 3, 8, 6),
        "max_pool2d",
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setattr(dense, "_LEAST", 1)  # small products would be left to PyTorch
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield CASES[request.param]
    torch.set_num_threads(before)


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
    output = of(x.requires_grad_())
    rows = torch.eye(output.numel()).view(-1, *output.shape)
    found = torch.autograd.grad(output, [x, *of.parameters()], rows, is_grads_batched=True)
    return torch.cat([each.flatten(1) for each in found], 1)


def an_ensemble_of_ends(of: nn.Sequential, x: Tensor) -> Tensor:
    features = of[:-1](x.requires_grad_())
    ends = torch.randn(4, 2, features.shape[1], generator=torch.Generator().manual_seed(2))
    value = torch.func.vmap(lambda end: nn.functional.linear(of[:-1](x), end))(ends)
    return torch.autograd.grad(value.square().sum(), x)[0]


def second_derivative_of(of: nn.Sequential, x: Tensor) -> Tensor:
    wanted = [x.requires_grad_(), *of.parameters()]
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


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_give_what_they_give_of_pytorchs(case: Case, transform: Transform, training: bool) -> None:
    own, pytorchs = (case.network(kind).train(training) for kind in (case.own, case.pytorchs))
    torch.testing.assert_close(transform(own, case.inputs()), transform(pytorchs, case.inputs()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("training", [True, False])
def test_traces_and_exports_hold_pytorchs(case: Case, training: bool) -> None:
    own, x = case.network(case.own).train(training), case.inputs()
    exported, traced = torch.export.export(own, (x,)), torch.jit.trace(own, (x,))  # type: ignore[no-untyped-call]
    for program in (exported.graph_module.code, str(traced.inlined_graph)):
        assert case.operation in program and "mkldnn" not in program and "convolution_backward" not in program
    torch.testing.assert_close(exported.module()(x), own(x))


@pytest.mark.parametrize("training", [True, False])
def test_a_watched_network_computes_the_same_and_its_layers_are_seen(case: Case, training: bool) -> None:
    own, seen, x = case.network(case.own).train(training), [], case.inputs()
    with capture(own, lambda layer, output, _: seen.append((layer.id, output.clone()))):
        output = own(x)
    tanhs = [path for path, module in own.named_children() if isinstance(module, nn.Tanh)]
    assert [each for each, _ in seen] == tanhs and torch.equal(output, own(x))
    assert all(torch.equal(given, own[: int(path) + 1](x)) for path, given in seen)
    watched, alone = (torch.autograd.grad(each.sum(), list(own.parameters())) for each in (output, own(x)))
    assert all(torch.equal(each, other) for each, other in zip(watched, alone, strict=True))
    # Linear layers and convolutions keep their own form, so that an analysis is as fast as the network itself.
    own_forms = {"linear layers": "_Dense", "convolutions": "_Convolved"}
    kinds = {type(step).__name__ for step in _steps(output)}
    expected = own_forms.get(next(name for name, each in CASES.items() if each is case))
    assert expected is None or any(expected in kind for kind in kinds)


def _steps(output: Tensor) -> Iterator[object]:
    waiting = [output.grad_fn]
    while waiting:
        if (step := waiting.pop()) is not None:
            yield step
            waiting += [each for each, _ in step.next_functions]
