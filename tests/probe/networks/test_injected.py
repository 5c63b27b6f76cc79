"""Injection into a network of ours: the function, what learns, the gradients before the cut, and rebuilding it."""

import copy

import pytest
import torch
from torch import Tensor

from probe.errors import ConfigurationError
from probe.networks import ModuleSpec, Network, NetworkSpec, Stage, build, dense, preset
from probe.networks.rewriting import normalise_activations
from probe.networks.specification import with_options

VECTORS = torch.randn(16, 4, generator=torch.Generator().manual_seed(2))
IMAGES = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def deep_critic() -> NetworkSpec:
    """An MLP whose critic has a hidden layer of its own."""
    spec = preset("mlp", (4,), 3, 8)
    hidden = (Stage(name="dense", kind="linear", options={"width": 8}), Stage(name="relu", kind="relu"))
    critic = ModuleSpec(reads="encoder", stages=(*hidden, *spec.modules["critic"].stages))
    return spec.model_copy(update={"modules": {**spec.modules, "critic": critic}})


CASES: dict[str, tuple[NetworkSpec, str, Tensor]] = {
    "mlp": (preset("mlp", (4,), 3, 8), "encoder.dense2", VECTORS),
    "conv64": (preset("conv64", (64, 64, 3), 3, 8), "encoder.dense", IMAGES),
    "conv64 at a convolution": (preset("conv64", (64, 64, 3), 3, 8), "encoder.conv3", IMAGES),
    "impala": (preset("impala", (64, 64, 3), 3, 8), "encoder.sequence3", IMAGES),
    "layer norm": (normalise_activations(preset("mlp", (4,), 3, 8), "layer_norm"), "encoder.dense2", VECTORS),
    "critic alone": (deep_critic(), "critic.dense", VECTORS),
}


def made(case: str) -> tuple[Network, str, Tensor]:
    spec, cut, batch = CASES[case]
    network = build(spec, generator(0))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations
    return network, cut, batch


def inject(network: Network, cut: str, seed: int = 1) -> Network:
    network.inject(cut, build(network.spec, generator(seed)), step=100 * seed)
    return network


def learn(network: Network, batch: Tensor, steps: int = 5) -> None:
    optimizer = torch.optim.Adam([each for each in network.parameters() if each.requires_grad], 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network, batch).backward()
        optimizer.step()


def loss(network: Network, batch: Tensor) -> Tensor:
    return torch.stack([(output - 1).square().mean() for output in network(batch).values()]).sum()


def trainable(network: Network) -> int:
    return sum(each.numel() for each in network.parameters() if each.requires_grad)


@pytest.mark.parametrize("case", CASES)
def test_the_outputs_are_exactly_the_same_and_so_is_the_number_of_parameters_that_learn(case: str) -> None:
    network, cut, batch = made(case)
    before, size = network(batch), trainable(network)
    after = inject(network, cut)(batch)
    assert list(after) == list(before)
    assert all(after[name].equal(output) for name, output in before.items())
    assert trainable(network) == size


@pytest.mark.parametrize("case", CASES)
def test_before_the_cut_the_gradients_are_those_without_injection(case: str) -> None:
    plain, cut, batch = made(case)
    injected = inject(copy.deepcopy(plain), cut)
    for network in (plain, injected):
        loss(network, batch).backward()
    behind = {id(each) for stages in injected.branch(cut).values() for stage in stages for each in stage.parameters()}
    compared = 0
    for name, parameter in injected.named_parameters():
        if name.startswith("frozen."):
            assert parameter.grad is None and not parameter.requires_grad
        elif id(parameter) not in behind:
            torch.testing.assert_close(parameter.grad, plain.get_parameter(name).grad, rtol=1e-4, atol=1e-6)
            compared += 1
        else:
            assert parameter.grad is not None
    assert compared


def test_the_formula_holds_while_it_learns_and_repeated_injections_stack() -> None:
    network, cut, batch = made("mlp")
    originals, subtracted = [], []
    for seed in (1, 2, 3):
        originals.append(head(network, batch))
        before = network(batch)
        inject(network, cut, seed)
        torch.testing.assert_close(network(batch), before, rtol=0, atol=1e-6)
        subtracted.append(head(network, batch))
        learn(network, batch)
        features = hidden(network, batch)
        total = sum(each(features) for each in originals) - sum(each(features) for each in subtracted)
        expected = total + head(network, batch)(features)
        torch.testing.assert_close(network(batch)["critic"], expected, rtol=1e-4, atol=1e-5)
    assert [each.model_dump() for each in network.spec.injections] == [
        {"cut": cut, "step": step, "all_learn": False} for step in (100, 200, 300)
    ]


def hidden(network: Network, batch: Tensor) -> Tensor:
    return torch.relu(network.get_submodule("encoder.dense1")(batch)).detach()


def head(network: Network, batch: Tensor):  # type: ignore[no-untyped-def]
    """Returns the critic behind the first layer as it is now."""
    parts = copy.deepcopy([network.get_submodule(name) for name in ("encoder.dense2", "critic.output")])
    return lambda features: parts[1](torch.relu(parts[0](features))).squeeze(-1).detach()


@pytest.mark.parametrize("case", CASES)
def test_the_specification_rebuilds_it_and_the_state_fills_it(case: str) -> None:
    network, cut, batch = made(case)
    learn(inject(inject(network, cut), cut, seed=2), batch)
    spec = NetworkSpec.model_validate_json(network.spec.model_dump_json())
    rebuilt = build(spec, generator(5))
    rebuilt.load_state_dict(network.state_dict())
    torch.testing.assert_close(rebuilt(batch), network(batch))
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert names == [name for name, parameter in rebuilt.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize("case", CASES)
def test_newly_built_it_is_the_network_without_injections(case: str) -> None:
    network, cut, batch = made(case)
    plain = network(batch)
    inject(inject(network, cut), cut, seed=2)
    torch.testing.assert_close(build(network.spec, generator(0))(batch), plain, rtol=1e-4, atol=1e-5)


def test_what_learns_keeps_its_parameters_and_the_global_random_state_stays() -> None:
    network, cut, _ = made("mlp")
    objects, state = dict(network.named_parameters()), torch.get_rng_state()
    inject(network, cut)
    assert all(network.get_parameter(name) is parameter for name, parameter in objects.items())
    assert torch.get_rng_state().equal(state)


def test_a_copy_is_its_own() -> None:
    network, cut, batch = made("mlp")
    inject(network, cut)
    before = network(batch)
    learn(copy.deepcopy(network), batch)
    assert all(output.equal(before[name]) for name, output in network(batch).items())


def test_another_cut_and_one_that_is_no_stage_are_refused() -> None:
    network, cut, _ = made("mlp")
    inject(network, cut)
    with pytest.raises(ConfigurationError, match=r"injected at 'encoder.dense2' before and cannot be at 'encoder.den"):
        inject(network, "encoder.dense1")
    for wrong in ("encoder.dense", "dense2", "head.dense2"):
        with pytest.raises(ConfigurationError, match=r"is no stage to inject at. There are: encoder.dense1"):
            inject(made("mlp")[0], wrong)


def test_the_frozen_copies_of_a_layer_can_be_found() -> None:
    network, cut, _ = made("mlp")
    inject(inject(network, cut), cut, seed=2)
    assert len(network.frozen_copies("actor.output")) == 4
    assert network.frozen_copies("encoder.dense1") == []


@torch.no_grad()
@pytest.mark.parametrize("least", [1, dense._LEAST])
def test_a_pair_leaves_the_function_as_it_was_by_whichever_library(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_LEAST", least)
    network, fresh = (build(preset("mlp", (4,), 15, 512), generator(seed)) for seed in (0, 1))
    vectors = torch.randn(256, 4, generator=generator(2))
    plain = network(vectors)["actor"]
    network.inject_output("actor", fresh)
    assert network(vectors)["actor"].equal(plain)


@torch.no_grad()
def test_a_linear_output_gets_a_pair_that_a_newly_built_network_has_too() -> None:
    network, fresh = (build(preset("mlp", (4,), 3, 8), generator(seed)) for seed in (0, 1))
    plain, layer = network(VECTORS), network.get_submodule("actor.output")
    injected = network.inject_output("actor", fresh)
    assert injected is layer and network(VECTORS)["actor"].equal(plain["actor"])
    assert injected.added.weight.equal(fresh.get_parameter("actor.output.weight"))
    injected.weight += 1
    injected.added.weight += 2
    expected = plain["actor"] + 3 * hidden_features(network).sum(dim=1, keepdim=True)
    torch.testing.assert_close(network(VECTORS)["actor"], expected, rtol=1e-4, atol=1e-4)
    rebuilt = build(NetworkSpec.model_validate_json(network.spec.model_dump_json()), generator(0))
    torch.testing.assert_close(rebuilt(VECTORS)["actor"], plain["actor"])
    rebuilt.load_state_dict(network.state_dict())
    torch.testing.assert_close(rebuilt(VECTORS), network(VECTORS))


def hidden_features(network: Network) -> Tensor:
    features: Tensor = network.get_submodule("encoder")(VECTORS)
    return features


def test_an_output_that_is_no_plain_linear_layer_gets_no_pair() -> None:
    spec = preset("mlp", (4,), 3, 8).map_stages(
        lambda stage: with_options(stage, {"spectral_norm": True}) if stage.kind == "linear" else stage
    )
    network = build(spec, generator(0))
    with pytest.raises(ConfigurationError, match=r"'actor.output' is no plain linear layer"):
        network.inject_output("actor", network)
