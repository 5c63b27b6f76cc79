import pytest
from torch import nn

from probe.module_guess import guess_modules, module_named


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("mlp_extractor.policy_net.1", "actor"),
        ("mlp_extractor.value_net.1", "critic"),
        ("features_extractor.cnn.1", "encoder"),
        ("actor.features_extractor.cnn.1", "encoder"),
        ("actor.latent_pi.1", "actor"),
        ("critic.qf0.1", "critic"),
        ("q_net.q_net.1", "critic"),
        ("lstm_actor", "actor"),
        ("agent.critic.encoder.conv", "encoder"),
        ("Q1.1", "critic"),
        ("q1.1", "critic"),
        ("actor_critic.torso", "encoder"),
        ("network.3", "encoder"),
        ("vit.encoder.layer.0.attention.value", "encoder"),
        ("advantage.0", "critic"),
    ],
)
def test_a_path_tells_its_module(path: str, module: str) -> None:
    assert module_named(path) == module


def test_layers_of_all_forms_of_ids_are_placed() -> None:
    network = nn.ModuleDict(
        {
            "actor": nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(1, 1), nn.ReLU()), "mu": nn.Tanh()}),
            "critic": nn.Sequential(nn.Linear(1, 1), nn.ReLU()),
            "torso": nn.ReLU(),
        }
    )
    modules = guess_modules(network)
    placed = {
        "actor.encoder.1": "encoder",
        "actor.mu": "actor",
        "actor:relu": "actor",
        "actor.mu#2": "actor",
        "critic.1": "critic",
        "critic:relu#3": "critic",
        "torso": "encoder",
        ":relu": "encoder",
    }
    assert {layer: modules.module_of(layer) for layer in placed} == placed
    assert modules.names == ("encoder", "actor", "critic")


def test_a_network_without_telling_names_is_one_encoder() -> None:
    assert guess_modules(nn.Sequential(nn.Linear(1, 1), nn.ReLU())).names == ("encoder",)
