"""Layers with a form of our own: what PyTorch can do with a network besides running it sees PyTorch's, or the same."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from probe.capture import capture
from probe.networks import convolution, dense
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


def outputs_of_each(of: nn.Sequential, x: Tensor) -> Tensor:
    return torch.func.vmap(lambda each: of(each[None])[0])(x)


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
    outputs_of_each,
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


COMPILED = """
import torch
from torch import nn
from probe.networks import dense
from probe.networks.convolution import Convolution
from probe.networks.dense import Dense
from probe.networks.max_pool import MaxPool
dense._LEAST = 100  # less than a batch's product and more than an observation's
own = nn.Sequential(Convolution(3, 32, 3, padding=1), MaxPool(3, 2, 1), nn.Flatten(), Dense(32 * 12, 8), Dense(8, 4))
x = torch.randn(6, 3, 8, 6).to(memory_format=torch.channels_last)
batch = torch.export.Dim("batch", min=2)
for strict in (True, False):
    program = torch.export.export(own, (x,), dynamic_shapes=({0: batch},), strict=strict).module()
    torch.testing.assert_close(program(x.repeat(5, 1, 1, 1)), own(x.repeat(5, 1, 1, 1)))
torch.testing.assert_close(torch.compile(own, fullgraph=True, backend="eager")(x), own(x))
print("whole")
"""


def test_compiled_networks_are_whole_and_programs_take_any_batch() -> None:
    # A process of its own: the checks of types that run in tests cannot be compiled.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.stdout == "whole\n", done.stderr[-2000:]


def test_operations_that_are_counted_are_pytorchs(case: Case) -> None:
    counts = []
    for kind in (case.own, case.pytorchs):
        with FlopCounterMode(display=False) as counter:
            case.network(kind)(case.inputs()).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


class Tagged(Tensor):
    """A tensor that notes which of PyTorch's functions it is given to."""

    seen: ClassVar[list[object]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs)


def test_tensors_with_a_behaviour_of_their_own_are_given_to_pytorchs_functions(case: Case) -> None:
    Tagged.seen.clear()
    own, x = case.network(case.own), case.inputs()
    output = own(x.as_subclass(Tagged))
    torch.testing.assert_close(output.as_subclass(Tensor), case.network(case.pytorchs)(x))
    assert not {dense.dense, convolution.convolve} & {*Tagged.seen}


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
    own_forms = {"convolutions": "_Convolved"}
    if torch.backends.mkldnn.is_available():
        own_forms["linear layers"] = "_Dense"
    kinds = {type(step).__name__ for step in _steps(output)}
    expected = own_forms.get(next(name for name, each in CASES.items() if each is case))
    assert expected is None or any(expected in kind for kind in kinds)


def _steps(output: Tensor) -> Iterator[object]:
    waiting = [output.grad_fn]
    while waiting:
        if (step := waiting.pop()) is not None:
            yield step
            waiting += [each for each, _ in step.next_functions]
