"""Injection: nothing changes at injection, what learns afterwards, and why a linear head is refused."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.errors import ConfigurationError
from probe.injection import Cut, Injected, find_cut, inject
from probe.networks import Network, build, preset
from probe.networks.rewriting import normalise_activations
from probe.networks.specification import with_options

VECTORS = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
IMAGES = torch.randint(0, 256, (6, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def network(name: str, seed: int = 0) -> Network:
    shape = (4,) if name == "mlp" else (64, 64, 3)
    spec = preset(name, shape, 5, 16 if name == "mlp" else 64)
    if name == "conv64":
        spec = spec.map_stages(lambda s: with_options(s, {"spectral_norm": True}) if s.kind == "linear" else s)
    return build(spec, torch.Generator().manual_seed(seed)).eval()


class Opaque(nn.Module):
    """Calls its layers in another order than it defines them, through functions."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.value, self.out, self.norm = nn.Linear(8, 1), nn.Linear(8, 3), nn.BatchNorm1d(8)
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 8)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.second(F.relu(self.norm(self.first(batch)))))
        return self.out(hidden), self.value(hidden)


CASES = [("mlp", VECTORS), ("conv64", IMAGES), ("impala", IMAGES), ("nature", IMAGES), ("opaque", VECTORS)]


def made(name: str, seed: int) -> nn.Module:
    return Opaque(seed).eval() if name == "opaque" else network(name, seed)


def parts(outputs: dict[str, Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


def loss(outputs: dict[str, Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.stack([(each - 1).square().mean() for each in parts(outputs)]).sum()


def trainable(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters() if each.requires_grad)


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_at_injection_nothing_changes_but_what_learns(name: str, batch: Tensor) -> None:
    original, fresh = made(name, 0), made(name, 1)
    cut = find_cut(original, batch[:1])
    injected = Injected(original, cut, fresh)
    for before, after in zip(parts(original(batch)), parts(injected(batch)), strict=True):
        assert (before - after).abs().max() <= 1e-6
    assert trainable(injected) == trainable(original)
    loss(original(batch)).backward()
    loss(injected(batch)).backward()
    for key, parameter in original.named_parameters():
        own = injected.network.get_parameter(key)
        if key in cut.names:
            assert own.grad is None
        else:
            assert own.grad is not None and parameter.grad is not None and bool(parameter.grad.any())
            torch.testing.assert_close(own.grad, parameter.grad, rtol=1e-4, atol=1e-6)
    assert any(bool(each.grad.any()) for each in injected.learning.parameters() if each.grad is not None)
    assert all(each.grad is None for each in injected.frozen.parameters())


@pytest.mark.parametrize(
    ("name", "batch", "layer"),
    [
        ("mlp", VECTORS, "encoder.dense2"),
        ("conv64", IMAGES, "encoder.dense"),
        ("nature", IMAGES, "encoder.flatten"),
        ("opaque", VECTORS, "second"),
    ],
)
def test_the_default_cut_is_before_the_last_hidden_layer_of_every_head(name: str, batch: Tensor, layer: str) -> None:
    assert find_cut(made(name, 0), batch[:1]).layer == layer


def test_a_normalisation_before_the_last_nonlinearity_is_no_cut() -> None:
    spec = normalise_activations(preset("mlp", (4,), 5, 16), "layer_norm")
    cut = find_cut(build(spec, torch.Generator()).eval(), VECTORS[:1])
    assert cut.layer == "encoder.dense2" and "encoder.layer_norm_relu2.weight" in cut.names


def test_a_block_can_be_the_cut() -> None:
    cut = find_cut(network("impala"), IMAGES[:1], "encoder.sequence3")
    assert "encoder.sequence3.conv.weight" in cut.names and "encoder.sequence2.conv.weight" not in cut.names


@pytest.mark.parametrize(
    ("name", "batch", "native"), [("conv64", IMAGES, True), ("nature", IMAGES, True), ("opaque", VECTORS, False)]
)
def test_both_ways_of_injecting_give_one_function(name: str, batch: Tensor, native: bool) -> None:
    original, fresh = made(name, 0), made(name, 1)
    cut = find_cut(original, batch[:1])
    injected = inject(original, cut, fresh)
    assert isinstance(injected, Network) == native and trainable(injected) == trainable(original)
    general = Injected(original, cut, fresh)
    for module in (injected, general):
        learning = {n.replace("learning.0.", "").replace("/", "."): p for n, p in module.named_parameters()}
        with torch.no_grad():
            for key in cut.names:
                if key in learning and learning[key].requires_grad:
                    learning[key].add_(0.1)
    for first, second in zip(parts(injected(batch)), parts(general(batch)), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_the_cut_takes_what_runs_after_it_and_nothing_that_ran_before() -> None:
    assert set(find_cut(Opaque(0).eval(), VECTORS, "second").names) == {
        f"{path}.{name}" for path in ("second", "out", "value") for name in ("weight", "bias")
    }
    cut = find_cut(Opaque(0).eval(), VECTORS, "norm")
    assert "norm.running_mean" in cut.names and "first.weight" not in cut.names


@pytest.mark.parametrize("layer", ["actor.output", "critic.output"])
def test_a_linear_head_is_refused(layer: str) -> None:
    with pytest.raises(ConfigurationError, match="linear: injecting it would change nothing"):
        find_cut(network("mlp"), VECTORS, layer)


def test_a_linear_network_and_an_unknown_layer_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="linear"):
        find_cut(nn.Linear(4, 2), VECTORS)
    with pytest.raises(ConfigurationError, match=r"No layer 'encoder.dens'.*encoder.dense1"):
        find_cut(network("mlp"), VECTORS, "encoder.dens")


def descend(module: nn.Module, batch: Tensor, steps: int = 200) -> list[Tensor]:
    optimizer = torch.optim.SGD([each for each in module.parameters() if each.requires_grad], 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module(batch)).backward()
        optimizer.step()
    return parts(module(batch))


class Double(nn.Module):
    """One encoder and one head, in float64."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.encoder, self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        with torch.no_grad():
            for parameter in self.double().parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)

    def forward(self, batch: Tensor) -> tuple[Tensor]:
        return (self.head(torch.tanh(self.hidden(torch.tanh(self.encoder(batch))))),)


def test_a_linear_head_injected_is_the_control_and_a_deep_one_is_not() -> None:
    original, fresh, batch = Double(0), Double(1), VECTORS.double()
    linear = Cut("head", ("head.weight", "head.bias"))
    deep = find_cut(original, batch)
    assert deep.layer == "hidden"
    control = descend(copy.deepcopy(original), batch)[0]
    assert (descend(Injected(original, linear, fresh), batch)[0] - control).abs().max() < 1e-12
    assert (descend(Injected(original, deep, fresh), batch)[0] - control).abs().max() > 1e-3


def test_injecting_again_keeps_the_function_and_freezes_the_first_pair() -> None:
    original = network("mlp")
    injected = Injected(original, find_cut(original, VECTORS), network("mlp", 1))
    descend(injected, VECTORS, steps=5)
    before = parts(injected(VECTORS))
    injected.inject(network("mlp", 2))
    for first, second in zip(before, parts(injected(VECTORS)), strict=True):
        assert (first - second).abs().max() <= 1e-6
    assert trainable(injected) == trainable(original)
    frozen = copy.deepcopy(injected.learning[0].state_dict())
    descend(injected, VECTORS, steps=5)
    assert all(frozen[name].equal(tensor) for name, tensor in injected.learning[0].state_dict().items())


def test_training_the_injected_network_leaves_the_original_alone() -> None:
    original = network("mlp")
    before = copy.deepcopy(original.state_dict())
    descend(Injected(original, find_cut(original, VECTORS), network("mlp", 1)), VECTORS, steps=5)
    assert all(before[name].equal(tensor) for name, tensor in original.state_dict().items())


def test_the_state_holds_every_part_once_and_loads_again() -> None:
    original = network("mlp")
    cut = find_cut(original, VECTORS)
    injected = Injected(original, cut, network("mlp", 1))
    descend(injected, VECTORS, steps=5)
    other = Injected(network("mlp", 3), cut, network("mlp", 4))
    other.load_state_dict(injected.state_dict())
    for first, second in zip(parts(injected(VECTORS)), parts(other(VECTORS)), strict=True):
        torch.testing.assert_close(first, second)
    assert len(injected.state_dict()) == len(original.state_dict()) + 2 * len(cut.names)


def test_a_new_network_of_another_architecture_is_refused() -> None:
    original = network("mlp")
    with pytest.raises(ConfigurationError, match="same architecture"):
        Injected(original, find_cut(original, VECTORS), nn.Linear(4, 2))
