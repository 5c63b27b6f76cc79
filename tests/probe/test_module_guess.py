import pytest

from probe.module_guess import guess_modules, module_named


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("mlp_extractor.policy_net.1", "actor"),
        ("mlp_extractor.value_net.1", "critic"),
        ("features_extractor.cnn.1", "encoder"),
        ("pi_features_extractor.cnn.1", "encoder"),
        ("actor.features_extractor.cnn.1", "encoder"),
        ("actor.latent_pi.1", "actor"),
        ("actor_mean.2", "actor"),
        ("policy.mlp.0", "actor"),
        ("lstm_actor", "actor"),
        ("critic.qf0.1", "critic"),
        ("qf1.fc1", "critic"),
        ("q_net.q_net.1", "critic"),
        ("quantile_net.quantile_net.1", "critic"),
        ("q_network.0", "critic"),
        ("value_head", "critic"),
        ("Q1.1", "critic"),
        ("q1.1", "critic"),
        ("critic2.0", "critic"),
        ("advantage.0", "critic"),
        ("critic.network.0", "critic"),
        ("agent.critic.encoder.conv", "encoder"),
        ("actor_critic.torso", "encoder"),
        ("actor_critic.fc1", "encoder"),
        ("agent.network.3", "encoder"),
        ("fc1", "encoder"),
        ("vit.encoder.layer.0.attention.value", "encoder"),
        ("blocks.0.attn.v", "encoder"),
        ("blocks.0.v_proj", "encoder"),
    ],
)
def test_a_path_tells_its_module(path: str, module: str) -> None:
    assert module_named(path) == module


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        ("actor.encoder.1", "encoder"),
        ("actor.mu", "actor"),
        ("actor:relu#2", "actor"),
        ("critic#3", "critic"),
        ("q1_relu", "critic"),
        ("value_input_relu", "critic"),
        ("network.0.block:relu", "encoder"),
        ("conv1_leaky_relu#2", "encoder"),
        (":relu", "encoder"),
    ],
)
def test_layers_of_all_forms_of_ids_are_placed(layer: str, module: str) -> None:
    assert guess_modules(["actor.0", "critic"]).module_of(layer) == module


def test_only_modules_that_a_name_tells_are_there() -> None:
    assert guess_modules(["actor.0", "critic.0"]).names == ("actor", "critic")
    assert guess_modules(["fc1", "head.actor"]).names == ("encoder", "actor")
    assert guess_modules([]).names == ("encoder",)
