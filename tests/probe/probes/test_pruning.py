"""Pruning: dead units change nothing, top units do; masks by hand, convolutions, and every edge."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from probe.analysis import analyze
from probe.networks import ActionSpace, ModuleSpec, NetworkSpec, Stage, build, preset
from probe.probes.base import Finding
from probe.probes.dormancy import dormant_units
from probe.probes.pruning import Pruning, highest, random_units
from tests.probe.probes.held import subject_of
from tests.probe.series import by_hand, kill, write_observations, write_series

OBSERVATIONS = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))


def mlp(dead: int) -> nn.Module:
    network = build(preset("mlp", (4,), 3, 16), torch.Generator().manual_seed(0))
    kill(network, dead)
    return network


def small_conv() -> nn.Module:
    conv = Stage(name="conv", kind="conv", options={"width": 6, "kernel": 3})
    stages = (conv, Stage(name="relu", kind="relu"), Stage(name="flatten", kind="flatten"))
    output = Stage(name="output", kind="linear", options={"width": 2})
    modules = {
        "encoder": ModuleSpec(reads="observations", stages=stages),
        "actor": ModuleSpec(reads="encoder", stages=(output,)),
    }
    spec = NetworkSpec(name="small", observation_shape=(8, 8, 3), actions=ActionSpace(size=2), modules=modules)
    return build(spec, torch.Generator().manual_seed(0))


def prune(network: nn.Module, observations: Tensor, probe: Pruning | None = None) -> list[Finding]:
    return list((probe or Pruning()).measure(subject_of(network, observations)).readings)


def value(found: list[Finding], metric: str, module: str, arm: str, tau: float = 0.0, draw: int = -1) -> float:
    for each in found:
        if (each.reading.metric, each.module, each.arm, each.draw) == (metric, module, arm, draw):
            if each.reading.threshold == tau:
                assert each.reading.value is not None
                return each.reading.value
    raise LookupError((metric, module, arm, tau, draw))


def test_dead_units_can_go_and_top_units_cannot() -> None:
    found = prune(mlp(dead=5), OBSERVATIONS)
    assert value(found, "pruned_units", "", "dormant") >= 5
    for metric in ("max_change", "mean_change", "kl", "action_disagreement"):
        assert value(found, metric, "actor", "dormant") <= 1e-6
    assert value(found, "max_change", "critic", "highest") > 0.01
    assert value(found, "pruned_units", "", "highest") == value(found, "pruned_units", "", "dormant")
    assert {value(found, "pruned_units", "", "random", draw=draw) for draw in range(3)} == {
        value(found, "pruned_units", "", "dormant")
    }


def test_the_change_is_that_of_the_masked_layers_by_hand() -> None:
    network, tau = mlp(dead=2), 0.6
    found = prune(network, OBSERVATIONS, Pruning(thresholds=(tau,)))
    hidden = by_hand(network, OBSERVATIONS)
    masks = {layer: (~dormant_units(each.double().mean(0), tau)).float() for layer, each in hidden.items()}
    with torch.no_grad():
        first = hidden["encoder.relu1"] * masks["encoder.relu1"]
        second = torch.relu(network.get_submodule("encoder.dense2")(first)) * masks["encoder.relu2"]
        pruned = network.get_submodule("critic")(second).squeeze(-1)
        change = (network(OBSERVATIONS)["critic"] - pruned).abs()
    assert change.max() > 0
    assert value(found, "max_change", "critic", "dormant", tau) == pytest.approx(change.max().item(), rel=1e-4)
    assert value(found, "mean_change", "critic", "dormant", tau) == pytest.approx(change.mean().item(), rel=1e-4)


@torch.no_grad()
def test_a_dead_channel_can_go_from_every_position() -> None:
    network = small_conv()
    network.get_parameter("encoder.conv.bias")[:2] = -1e6
    images = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = prune(network, images)
    assert value(found, "pruned_units", "", "dormant") == 2
    assert value(found, "max_change", "actor", "dormant") <= 1e-6
    before = network(images)["actor"]
    weight = network.get_parameter("actor.output.weight").view(2, 6, 6, 6)
    top = [int(each) for each in _channel_means(network, images).argsort(descending=True)[:2]]
    weight[:, top] = 0
    expected = (before - network(images)["actor"]).abs().max().item()
    assert value(found, "max_change", "actor", "highest") == pytest.approx(expected, rel=1e-4)


def _channel_means(network: nn.Module, images: Tensor) -> Tensor:
    scaled = images.permute(0, 3, 1, 2).float() / 255
    return torch.relu(network.get_submodule("encoder.conv")(scaled)).mean((0, 2, 3))


@torch.no_grad()
def test_a_constant_unit_folds_away_and_cannot_be_zeroed() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    network[0].weight[0], network[0].bias[0] = 0, 1 / 64  # whose sums are exact
    network[0].bias[1:] = 1.0
    found = prune(network, OBSERVATIONS, Pruning(thresholds=(0.1,)))
    assert value(found, "pruned_units", "", "dormant", 0.1) == 1
    expected = network[2].weight[:, 0].abs() / 64
    assert value(found, "max_change", "output", "dormant", 0.1) == pytest.approx(expected.max().item(), rel=1e-4)
    assert value(found, "mean_change", "output", "dormant", 0.1) == pytest.approx(expected.mean().item(), rel=1e-4)
    for metric in ("folded_max_change", "folded_mean_change", "folded_action_disagreement"):
        assert value(found, metric, "output", "dormant", 0.1) == 0
    assert value(found, "folded_max_change", "output", "highest", 0.1) > 0.01


@torch.no_grad()
def test_a_constant_channel_folds_away() -> None:
    network = small_conv()
    network.get_parameter("encoder.conv.weight")[:2] = 0
    network.get_parameter("encoder.conv.bias")[:2] = 1 / 256
    network.get_parameter("encoder.conv.bias")[2:] = 1.0
    images = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = prune(network, images)
    assert value(found, "pruned_units", "", "dormant", 0.1) == 2
    assert value(found, "max_change", "actor", "dormant", 0.1) > 1e-4
    assert value(found, "folded_max_change", "actor", "dormant", 0.1) == 0


def test_folding_is_pruning_with_the_means_in_the_next_biases_by_hand() -> None:
    network, tau = mlp(dead=2), 0.6
    found = prune(network, OBSERVATIONS, Pruning(thresholds=(tau,)))
    hidden = by_hand(network, OBSERVATIONS)
    gone = {layer: dormant_units(each.double().mean(0), tau) for layer, each in hidden.items()}
    with torch.no_grad():
        whole = network(OBSERVATIONS)["critic"]
        dense, critic = network.get_submodule("encoder.dense2"), network.get_submodule("critic.output")
        for layer, reader in (("encoder.relu1", dense), ("encoder.relu2", critic)):
            means = hidden[layer].mean(0) * gone[layer]
            reader.get_parameter("bias").add_(reader.get_parameter("weight") @ means)
        first = hidden["encoder.relu1"] * ~gone["encoder.relu1"]
        pruned = critic(torch.relu(dense(first)) * ~gone["encoder.relu2"]).squeeze(-1)
        change = (whole.squeeze(-1) - pruned).abs()
    assert change.max() > 0
    assert value(found, "folded_max_change", "critic", "dormant", tau) == pytest.approx(change.max().item(), rel=1e-4)
    assert value(found, "folded_mean_change", "critic", "dormant", tau) == pytest.approx(change.mean().item(), rel=1e-4)


@torch.no_grad()
def test_a_channels_mean_goes_to_the_bias_from_every_position_by_hand() -> None:
    network = small_conv()
    network.get_parameter("encoder.conv.bias")[:2] = -1e6
    images = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = prune(network, images)
    before, means = network(images)["actor"], _channel_means(network, images)
    weight = network.get_parameter("actor.output.weight").view(2, 6, 6, 6)
    for channel in means.argsort(descending=True)[:2].tolist():
        network.get_parameter("actor.output.bias").add_(weight[:, channel].sum((1, 2)) * means[channel])
        weight[:, channel] = 0
    expected = (before - network(images)["actor"]).abs().max().item()
    assert value(found, "folded_max_change", "actor", "highest") == pytest.approx(expected, rel=1e-4)


def test_units_of_mean_zero_fold_as_they_are_zeroed() -> None:
    found = prune(mlp(dead=5), OBSERVATIONS)
    for metric in ("max_change", "mean_change", "kl", "action_disagreement"):
        zeroed, folded = (value(found, prefix + metric, "actor", "dormant") for prefix in ("", "folded_"))
        assert zeroed == folded


@pytest.mark.parametrize("behind", [(nn.Linear(8, 2, bias=False),), (nn.LayerNorm(8), nn.Linear(8, 2))])
def test_what_no_bias_reads_is_zeroed_alone(behind: tuple[nn.Module, ...]) -> None:
    found = prune(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), *behind), OBSERVATIONS)
    folded = [each.reading for each in found if each.reading.metric.startswith("folded")]
    assert [(each.metric, each.value, each.status) for each in folded] == [
        ("folded_mean_change", None, "not_applicable")
    ]
    assert value(found, "max_change", "output", "dormant", 0.1) >= 0


@torch.no_grad()
def test_without_dormant_units_the_zeros_are_degenerate() -> None:
    network = mlp(dead=0)
    for name in ("dense1", "dense2"):
        network.get_parameter(f"encoder.{name}.bias").fill_(1000.0)
    network.get_parameter("encoder.dense2.weight").zero_()
    found = prune(network, OBSERVATIONS, Pruning(thresholds=(0.0,)))
    changes = [each.reading for each in found if each.reading.metric != "pruned_units"]
    assert {(each.value, each.status) for each in changes} == {(0.0, "degenerate")}


def test_a_silent_network_can_be_pruned_altogether() -> None:
    found = prune(mlp(dead=16), OBSERVATIONS)
    assert value(found, "max_change", "critic", "dormant") == 0.0


@torch.no_grad()
def test_nan_is_nonfinite_and_no_hidden_layer_not_applicable() -> None:
    network = mlp(dead=0)
    network.get_parameter("encoder.dense1.weight")[0, 0] = torch.nan
    assert [each.reading.status for each in prune(network, OBSERVATIONS)] == ["nonfinite"]
    assert [each.reading.status for each in prune(nn.Linear(4, 2), OBSERVATIONS)] == ["not_applicable"]


def test_random_units_are_distinct_and_the_generators() -> None:
    draws = [random_units(5, 20, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert [int(each.sum()) for each in draws] == [5, 5, 5]
    assert draws[0].equal(draws[1]) and not draws[0].equal(draws[2])
    assert highest(torch.tensor([1.0, 3.0, 3.0, 2.0]), 2).tolist() == [False, True, True, False]


def test_a_series_is_pruned_end_to_end(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=200)
    with analyze(run, data, tmp_path / "a.h5", ["pruning"]) as analysis:
        dormant = analysis.select(probe="pruning", metric="max_change", arm="dormant", threshold=0.0)
        assert len(dormant["value"]) == 6 and (dormant["value"] <= 1e-6).all()
        random = analysis.select(probe="pruning", metric="max_change", arm="random", threshold=0.1, module="critic")
        assert sorted(set(random["draw"].tolist())) == [0, 1, 2]
