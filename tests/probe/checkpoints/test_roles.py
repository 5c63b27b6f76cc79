"""Which module a part of a foreign network is, guessed from its name."""

import pytest

from probe.checkpoints.roles import guess_modules


@pytest.mark.parametrize(
    "name, module",
    [
        ("actor.0", "actor"),
        ("actor_mean.2", "actor"),
        ("policy.mlp.0", "actor"),
        ("critic.0", "critic"),
        ("value_head", "critic"),
        ("qf1.fc1", "critic"),
        ("q_network.0", "critic"),
        ("advantage.0", "critic"),
        ("network.0", "encoder"),
        ("conv1", "encoder"),
        ("encoder.convs.0", "encoder"),
        ("critic.encoder.0", "encoder"),
        ("critic.network.0", "critic"),
        ("agent.network.0", "encoder"),
        ("fc1", "other"),
        ("blocks.0.attention.v_proj", "other"),
    ],
)
def test_names_tell_modules(name: str, module: str) -> None:
    assert guess_modules([f"{name}.weight"]).module_of(name) == module


def test_activations_belong_to_the_layer_that_they_follow() -> None:
    modules = guess_modules(["actor.weight", "network.0.block.conv.weight", "conv1.weight"])
    layers = {
        "actor_gelu": "actor",
        "actor:relu#2": "actor",
        "network.0.block:relu": "encoder",
        "conv1_relu": "encoder",
    }
    assert {layer: modules.module_of(layer) for layer in layers} == layers


def test_names_that_say_nothing_make_no_module() -> None:
    assert guess_modules(["fc1.weight", "fc2.bias", "log_std"]).names == ()
