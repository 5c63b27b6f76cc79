import pytest
import torch

from probe.networks import NetworkSpec, build
from probe.networks.spectral import stored_weight
from probe.trainers.architecture import specification
from probe.trainers.configuration import load

FRAMES = (84, 84, 4)


def spec_of(preset: str, *settings: str) -> NetworkSpec:
    return specification(load(preset, settings).network, FRAMES, 6, 1)


def kinds(spec: NetworkSpec, module: str) -> list[str]:
    return [stage.kind for stage in spec.modules[module].stages]


def test_pong_has_three_convolutions_and_heads_of_512() -> None:
    for preset in ("pong", "pong-collapse", "pong-stable"):
        layers = spec_of(preset).layers()
        widths = {path: stage.options["width"] for path, stage in layers.items() if "width" in stage.options}
        assert widths == {
            "encoder.conv1": 32, "encoder.conv2": 64, "encoder.conv3": 64,
            "actor.dense": 512, "actor.output": 6, "critic.dense": 512, "critic.output": 1,
        }  # fmt: skip


def test_the_settings_that_are_blamed_and_the_remedies_are_in_the_networks() -> None:
    blamed, stable = spec_of("pong-collapse"), spec_of("pong-stable")
    assert kinds(blamed, "encoder") == ["conv", "relu"] * 3 + ["flatten"]
    assert kinds(stable, "encoder") == ["conv", "leaky_relu", "batch_norm"] * 3 + ["flatten"]
    assert kinds(stable, "actor") == kinds(stable, "critic") == ["linear", "leaky_relu", "linear"]
    assert {stage.options["slope"] for stage in stable.layers().values() if stage.kind == "leaky_relu"} == {0.01}


def test_the_settings_that_are_blamed_and_the_remedies_are_in_the_learning() -> None:
    pong, blamed, stable = (load(name).ppo for name in ("pong", "pong-collapse", "pong-stable"))
    assert pong is not None and blamed is not None and stable is not None
    changed = {"learning_rate": 3e-4, "schedule": "constant"}
    assert blamed == pong.model_copy(update=changed) and blamed.guards is None
    assert (stable.learning_rate, stable.schedule, stable.schedule_period, stable.schedule_factor) == (
        1e-4,
        "step",
        12,
        0.9,
    )
    assert stable.guards is not None
    assert (stable.guards.log_ratio, stable.guards.ratio, stable.guards.least_deviation) == (20.0, (0.05, 20.0), 1e-5)


@pytest.mark.parametrize(("preset", "gain"), [("pong", 2**0.5), ("pong-collapse", 1.0), ("pong-stable", 0.8)])
def test_weights_start_orthogonal_with_the_gain_that_is_set(preset: str, gain: float) -> None:
    network = build(spec_of(preset, "network.hidden=16"), torch.Generator().manual_seed(3))
    gains = {"actor.output": 0.01, "critic.output": 1.0}
    for path, stage in network.spec.layers().items():
        if stage.kind in ("conv", "linear"):
            layer = network.get_submodule(path)
            weight = stored_weight(layer).detach().double().flatten(1)
            expected = gains.get(path, gain)
            # Fewer rows than columns everywhere: all singular values are the gain.
            assert torch.linalg.svdvals(weight).tolist() == pytest.approx([expected] * len(weight), rel=1e-5)
            assert not layer.get_parameter("bias").any()


def test_a_gain_of_one_module_leaves_the_others_as_they_are() -> None:
    with_gain = specification(load("coinrun", ["network.actor_gain=0.5"]).network, (64, 64, 3), 6, 1).layers()
    without = specification(load("coinrun").network, (64, 64, 3), 6, 1).layers()
    assert [path for path in without if with_gain[path] != without[path]] == ["actor.output"]
    assert with_gain["actor.output"].initialisation.gain == 0.5


@pytest.mark.parametrize("kind", ["gelu", "tanh"])
def test_an_activation_stands_in_every_place(kind: str) -> None:
    spec = spec_of("pong", f"network.activation={kind}")
    every = [stage.kind for stage in spec.layers().values()]
    assert every.count(kind) == 5 and "relu" not in every


def test_a_normalisation_stands_where_and_in_which_modules_the_settings_say() -> None:
    spec = spec_of("pong", "network.normalisation={kind='layer_norm', modules=['critic']}")
    assert kinds(spec, "critic") == ["linear", "layer_norm", "relu", "linear"]
    assert "layer_norm" not in kinds(spec, "encoder") + kinds(spec, "actor")
