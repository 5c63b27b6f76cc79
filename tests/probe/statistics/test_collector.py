"""The collector as the consumer of capture."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probe.capture import capture
from probe.networks import build, preset
from probe.statistics.collector import StatisticsCollector


@torch.no_grad()
def collected(
    network: nn.Module, *batches: Tensor, collector: StatisticsCollector | None = None
) -> StatisticsCollector:
    collector = collector or StatisticsCollector()
    with capture(network, collector):
        for batch in batches:
            network(batch)
    return collector


def frames(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_network_leaves_one_entry_a_layer_in_call_order() -> None:
    network = build(preset("conv64", (64, 64, 3), 15, 256), torch.Generator().manual_seed(0)).eval()
    batch = frames(6)
    collector = collected(network, batch[:4], batch[4:])
    sizes = {layer: (each.samples, each.units, each.elements) for layer, each in collector.layers.items()}
    assert sizes == {
        "encoder.relu1": (6, 32, 1024),
        "encoder.relu2": (6, 64, 256),
        "encoder.relu3": (6, 128, 64),
        "encoder.relu4": (6, 128, 16),
        "encoder.relu_dense": (6, 256, 1),
    }
    assert list(collector.descriptions) == list(collector.layers)
    assert collector.descriptions["encoder.relu_dense"].label == "encoder.dense"


def test_statistics_are_those_of_the_outputs() -> None:
    network = build(preset("conv64", (64, 64, 3), 15, 256), torch.Generator().manual_seed(0)).eval()
    batch = frames(5)
    with torch.no_grad():
        first = network.get_submodule("encoder.relu1")(network.get_submodule("encoder.conv1")(network.scale(batch)))
    statistics = collected(network, batch).layers["encoder.relu1"]
    torch.testing.assert_close(statistics.mean, first.double().mean((0, 2, 3)), rtol=1e-6, atol=1e-9)
    assert torch.equal(statistics.positive, (first > 0).sum((0, 2, 3)).double())
    spectrum = torch.linalg.svdvals(first.double().mean((2, 3)))
    torch.testing.assert_close(statistics.singular_values(), spectrum, rtol=0, atol=1e-6 * float(spectrum[0]))


@pytest.mark.parametrize("pattern", ["*relu_dense", "encoder.dense"])
def test_layers_are_chosen_by_id_or_label(pattern: str) -> None:
    network = build(preset("conv64", (64, 64, 3), 15, 256), torch.Generator().manual_seed(0)).eval()
    collector = collected(network, frames(2), frames(2), collector=StatisticsCollector(layers=[pattern]))
    assert list(collector.layers) == ["encoder.relu_dense"]
    assert collector.layers["encoder.relu_dense"].samples == 4


def test_in_place_relus_give_what_others_give() -> None:
    plain, in_place = (
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(each), nn.Linear(4, 2), nn.ReLU(each)).eval()
        for each in (False, True)
    )
    in_place.load_state_dict(plain.state_dict())
    batch = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    first, second = (collected(network, batch.clone()).layers for network in (plain, in_place))
    assert first.keys() == second.keys() == {"2", "4"}
    assert all(torch.equal(first[layer].total, second[layer].total) for layer in first)


def test_a_nonlinearity_of_a_parameter_is_no_layer() -> None:
    class Gaussian(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.scale = nn.Linear(3, 4), nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.dense(x)) * F.softplus(self.scale)

    assert list(collected(Gaussian(), torch.ones(5, 3)).layers) == [":relu"]


def test_without_rank_no_factor_is_kept() -> None:
    collector = collected(nn.Sequential(nn.ReLU()), torch.ones(5, 3), collector=StatisticsCollector(rank=False))
    assert collector.layers["0"].factor is None
