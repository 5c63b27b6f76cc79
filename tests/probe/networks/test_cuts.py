"""Where an injected part can begin: by hand, for heads with hidden layers of their own and without."""

import pytest

from probe.networks import NetworkSpec, preset
from probe.networks.cuts import heads, hidden_cuts
from probe.networks.specification import Stage


def spec(name: str) -> NetworkSpec:
    return preset(name, (4,) if name == "mlp" else (64, 64, 3), 3, 8)


TRUNK = ["encoder.conv1", "encoder.relu1", "encoder.conv2", "encoder.relu2", "encoder.conv3", "encoder.relu3"]


@pytest.mark.parametrize(
    ("network", "chosen", "expected"),
    [
        ("mlp", ["actor", "critic"], ["encoder.dense1", "encoder.relu1", "encoder.dense2"]),
        ("mlp", ["critic"], ["encoder.dense1", "encoder.relu1", "encoder.dense2"]),
        ("nature", ["actor", "critic"], [*TRUNK, "encoder.flatten"]),
        ("nature", ["actor"], [*TRUNK, "encoder.flatten", "actor.dense"]),
    ],
)
def test_from_a_cut_on_every_chosen_head_has_a_hidden_layer(
    network: str, chosen: list[str], expected: list[str]
) -> None:
    assert hidden_cuts(spec(network), chosen) == expected


def test_a_head_that_is_linear_throughout_has_no_cut() -> None:
    made = spec("mlp")
    linear = made.modules["encoder"].model_copy(update={"stages": (Stage(name="flatten", kind="flatten"),)})
    assert hidden_cuts(made.model_copy(update={"modules": {**made.modules, "encoder": linear}}), ["actor"]) == []


def test_heads_are_what_acts_and_judges() -> None:
    made = spec("nature")
    both = {**made.modules, "critic2": made.modules["critic"], "auxiliary": made.modules["critic"]}
    assert heads(made.model_copy(update={"modules": both})) == ["actor", "critic", "critic2"]
