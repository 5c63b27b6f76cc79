"""Stored features: the chosen rows of the chosen layers, batch by batch, and nothing of the others."""

from collections.abc import Collection, Mapping

import pytest
import torch
from torch import Tensor

from probe.capture import capture
from probe.features import layer_features
from probe.stored import StoredFeatures
from tests.probe.probes.test_gradient_probes import mlp

OBSERVATIONS = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
ROWS = torch.tensor([0, 3, 4, 17, 29])


def every(found: Mapping[str, Tensor]) -> Collection[str]:
    return found.keys()


def stored(made: StoredFeatures, size: int) -> StoredFeatures:
    network, start = mlp().eval(), 0
    with torch.no_grad(), capture(network, made.see_layer):
        for batch in OBSERVATIONS.split(size):
            made.see_outputs(network(batch), torch.arange(start, start + len(batch)))
            start += len(batch)
    return made


@pytest.mark.parametrize("size", [1, 7, 30])
def test_the_matrix_holds_the_chosen_rows_at_any_size_of_batches(size: int) -> None:
    found, expected = stored(StoredFeatures(ROWS, 1000, every), size), layer_features(mlp().eval(), OBSERVATIONS)
    for layer, features in expected.items():
        assert found.has(layer)
        torch.testing.assert_close(found.matrix(layer), features[ROWS], rtol=1e-6, atol=1e-7)


def test_layers_that_are_wide_or_not_chosen_are_not_held() -> None:
    narrow = stored(StoredFeatures(ROWS, 1, every), 7)
    assert not narrow.has("encoder.relu1") and not narrow.has("encoder.relu2")
    one = stored(StoredFeatures(ROWS, 1000, lambda found: ["encoder.relu2"]), 7)
    assert one.has("encoder.relu2") and not one.has("encoder.relu1")


def test_a_layer_that_some_batches_lack_is_not_whole() -> None:
    turn = iter([["encoder.relu1"], [], ["encoder.relu1"]])
    found = stored(StoredFeatures(ROWS, 1000, lambda _: next(turn)), 10)
    assert not found.has("encoder.relu1")


def test_more_time_steps_than_observations_are_no_rows() -> None:
    made, network = StoredFeatures(ROWS, 1000, every), mlp().eval()
    with torch.no_grad(), capture(network, made.see_layer):
        network(OBSERVATIONS)
        made.see_outputs(network(OBSERVATIONS), torch.arange(30))
    assert not made.has("encoder.relu1")
