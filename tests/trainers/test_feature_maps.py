import pytest
import torch

from probe.networks import build, preset
from probe.trainers.feature_maps import FeatureMaps, tiled


def test_channels_stand_side_by_side() -> None:
    maps = torch.tensor([[[0.0, 1.0]], [[2.0, -2.0]], [[4.0, 9.0]]])
    assert tiled(maps, 4.0).tolist() == [
        [0, 64, 127, 128, 128],
        [127, 127, 127, 127, 127],
        [255, 255, 127, 127, 127],
    ]


def test_a_layer_without_any_activity_is_black() -> None:
    assert tiled(torch.zeros(1, 2, 2), 0.0).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("training", [True, False])
def test_a_collapse_shows_beside_what_was_before(training: bool) -> None:
    network = build(preset("nature", (36, 36, 1), 2, 4), torch.Generator().manual_seed(0)).train(training)
    frame = torch.randint(0, 256, (36, 36, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    layers = {f"encoder.relu{index}" for index in (1, 2, 3)} | {"actor.relu_dense"}
    maps = FeatureMaps()
    before = maps.draw(network, frame, layers)
    assert list(before) == ["encoder.conv1", "encoder.conv2", "encoder.conv3"], "heads have no maps"
    assert all(picture.max() == 255 for picture in before.values())
    assert before["encoder.conv1"].shape == (6 * 8 + 5, 6 * 8 + 5)  # 32 channels of 8 x 8
    with torch.no_grad():
        network.get_submodule("encoder.conv3").get_parameter("weight").mul_(1e-3)
        network.get_submodule("encoder.conv3").get_parameter("bias").mul_(1e-3)
    resumed = FeatureMaps()
    resumed.set_state(maps.get_state())
    assert maps.draw(network, frame, layers)["encoder.conv3"].min() == 0
    after = resumed.draw(network, frame, layers)["encoder.conv3"]
    assert set(after.flatten().tolist()) == {0, 127}, "a thousandth of white is black; gaps are grey"
    assert network.training is training


def test_what_is_not_finite_is_not_drawn() -> None:
    network = build(preset("nature", (36, 36, 1), 2, 4), torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.get_submodule("encoder.conv2").get_parameter("bias")[0] = float("inf")
    drawn = FeatureMaps().draw(network, torch.zeros(36, 36, 1, dtype=torch.uint8), {"encoder.relu1", "encoder.relu2"})
    assert list(drawn) == ["encoder.conv1"]
