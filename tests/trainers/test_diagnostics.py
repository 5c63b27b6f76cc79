import pytest
import torch

from probe.networks import build, preset
from probe.trainers import diagnostics


def test_a_network_with_known_weights_reads_as_computed_by_hand() -> None:
    network = build(preset("mlp", (3,), 2, 4), torch.Generator().manual_seed(0))
    network.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()})
    first, second = (network.get_submodule(f"encoder.dense{index}") for index in (1, 2))
    with torch.no_grad():
        # Three units of the first layer copy an input each, the fourth is dead; the second layer copies the first.
        first.get_parameter("weight")[:3] = torch.eye(3)
        first.get_parameter("bias")[3] = -1
        second.get_parameter("weight").copy_(torch.eye(4))
    observations = torch.eye(3).repeat(4, 1)
    metrics = diagnostics.measure(network, observations)
    assert metrics["network/dead/encoder"] == metrics["network/dormant_0.025/encoder"] == 2 / 8
    assert metrics["network/zero_fraction/encoder"] == pytest.approx((3 * 2 / 3 + 1) / 4)
    assert metrics["network/effective_rank/encoder"] == pytest.approx(3)  # of the last layer: three equal directions
    assert metrics["network/weight_norm/encoder"] == pytest.approx((3 + 1 + 4) ** 0.5)
    assert metrics["network/weight_norm/actor"] == metrics["network/weight_norm/critic"] == 0


def test_a_linear_head_has_norms_only() -> None:
    network = build(preset("mlp", (3,), 2, 4), torch.Generator().manual_seed(0))
    columns = diagnostics.columns(network)
    measured = diagnostics.measure(network, torch.zeros(5, 3))
    assert set(columns) == set(measured) | {f"network/gradient_norm/{name}" for name in ("encoder", "actor", "critic")}
    assert not any("dormant" in name and "actor" in name for name in columns)


def test_fewer_observations_than_units_give_no_rank() -> None:
    network = build(preset("mlp", (3,), 2, 8), torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    assert diagnostics.measure(network, torch.randn(7, 3, generator=rng))["network/effective_rank/encoder"] is None
    assert diagnostics.measure(network, torch.randn(8, 3, generator=rng))["network/effective_rank/encoder"] is not None


def test_weights_that_are_not_finite_give_no_fractions() -> None:
    network = build(preset("mlp", (3,), 2, 4), torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.get_submodule("encoder.dense1").get_parameter("bias")[0] = float("nan")
    metrics = diagnostics.measure(network, torch.ones(8, 3))
    assert metrics["network/dead/encoder"] is None and metrics["network/effective_rank/encoder"] is None


@pytest.mark.parametrize("training", [True, False])
def test_measuring_changes_nothing(training: bool) -> None:
    network = build(preset("mlp", (3,), 2, 4), torch.Generator().manual_seed(0)).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    diagnostics.measure(network, torch.ones(8, 3))
    assert network.training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
