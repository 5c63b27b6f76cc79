"""Networks whose code is not the one that was written: compiled, exported, and outputs that are squashed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from probe.capture import capture
from tests.probe.capture.seen import captured, ids, values


class Outer(nn.Module):
    def __init__(self, inner: Callable[..., Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.end = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.end(torch.relu(self.inner(x)))
        return output


def inner() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.GELU())


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_network_is_seen_in_every_pass_as_it_was_written(whole: bool, ran: bool) -> None:
    written = Outer(inner())
    seen = captured(written, values(), values(5))
    if whole:
        network = torch.compile(written, backend="eager")
    else:
        network = Outer(torch.compile(written.inner, backend="eager"))
        network.load_state_dict(
            {f"inner._orig_mod.{k[6:]}" if k[:5] == "inner" else k: v for k, v in written.state_dict().items()}
        )
    if ran:
        network(values())
    found = captured(network, values(), values(5))
    assert ids(found) == ids(seen) == ["inner.1", ":relu"] * 2
    assert all(torch.equal(one, other) for (_, one, _), (_, other, _) in zip(found, seen, strict=True))


def test_a_module_that_compiled_itself_is_seen() -> None:
    network = inner()
    network.compile(backend="eager")
    network(values())
    assert ids(captured(network, values(), values(5))) == ["1", "1"]


@pytest.mark.parametrize("unflatten", [False, True])
def test_an_exported_program_is_seen_by_its_operators(unflatten: bool) -> None:
    written = Outer(inner()).eval()
    program = torch.export.export(written, (values(),))
    network = torch.export.unflatten(program) if unflatten else program.module()
    found, seen = captured(network, values()), captured(written, values())
    assert [layer.function for layer, _, _ in found] == ["gelu", "relu"]
    assert all(torch.equal(one, other) for (_, one, _), (_, other, _) in zip(found, seen, strict=True))


class Actor(nn.Module):
    """A squashed action beside a squashed standard deviation, after hidden tanhs."""

    def __init__(self, pack: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
        self.mean, self.deviation = nn.Sequential(nn.Linear(5, 2), nn.Tanh()), nn.Linear(5, 2)
        self.pack = pack

    def forward(self, x: Tensor) -> object:
        hidden = self.trunk(x)
        return self.pack(self.mean(hidden), nn.functional.softplus(self.deviation(hidden)))


PACKS: list[Callable[[Tensor, Tensor], object]] = [
    lambda mean, deviation: (mean, deviation),
    lambda mean, deviation: {"policy": [mean], "deviation": deviation.view(-1)},
    torch.distributions.Normal,
]


@pytest.mark.parametrize("pack", PACKS)
def test_squashed_outputs_are_told_from_hidden_layers(pack: Callable[[Tensor, Tensor], object]) -> None:
    network = Actor(pack)
    with torch.no_grad(), capture(network, lambda *_: None) as outputs:
        network(values())
    assert outputs.layers == {"mean.1", ":softplus"}


class Fitted(nn.Module):
    """An action scaled into its bounds and a bounded logarithm of the deviation, as single-file implementations do."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.mu, self.deviation = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(5, 2)
        self.register_buffer("scale", torch.tensor([[2.0, 3.0]]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.dense(x))
        deviation = -5 + 0.5 * 7 * (torch.tanh(self.deviation(hidden)) + 1)
        return torch.tanh(self.mu(hidden)) * self.scale + 1.0, deviation.exp()


def test_an_output_that_is_scaled_and_shifted_is_an_output_all_the_same() -> None:
    with torch.no_grad(), capture(network := Fitted(), lambda *_: None) as outputs:
        network(values())
    assert outputs.layers == {":tanh#2", ":tanh#3"}


def test_what_is_added_to_other_activations_is_a_layer() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x + torch.tanh(self.first(x))
            return x * torch.sigmoid(self.second(x))

    with torch.no_grad(), capture(network := Residual(), lambda *_: None) as outputs:
        network(values())
    assert outputs.layers == set()


def test_a_rectified_or_declared_output_is_a_layer() -> None:
    for network, declared in ((nn.Sequential(nn.Linear(3, 2), nn.ReLU()), {}), (inner(), {"1": "tanh"})):
        with torch.no_grad(), capture(network, lambda *_: None, activations=declared) as outputs:
            network(values())
        assert outputs.layers == set()


def test_what_is_used_on_the_way_to_the_output_is_a_layer() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Dropout(0.0), nn.Linear(2, 2))
    with torch.no_grad(), capture(network.eval(), lambda *_: None) as outputs:
        network(values())
    assert outputs.layers == set()
