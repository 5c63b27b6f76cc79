"""Agents of Stable-Baselines3: what they see, how they act, and the actions that their critics are given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("sb3_contrib")

from probe import open_observations
from probe.checkpoints import Checkpoint, open_checkpoint
from probe.datasets.actors import checkpoint_actor
from probe.datasets.collect import collect
from probe.datasets.environments import EnvironmentSpec, make
from probe.datasets.preprocessing import preprocessing_of
from probe.datasets.sampling import Sampling
from probe.errors import ConfigurationError
from probe.inputs import network_inputs
from probe.layers import widest_hidden
from probe.outputs import named_outputs
from tests.probe.checkpoints.sb3_runs import new_model

STATES = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


def saved(name: str, folder: Path) -> tuple[Any, Checkpoint]:
    model = new_model(name)
    model.save(folder / "a.zip")
    return model, open_checkpoint(folder / "a.zip")


@pytest.mark.parametrize(
    ("name", "shape", "changes", "wanted"),
    [
        ("CartPole-v1", (4,), [], {"frame_stack": 1}),
        ("CartPole-v1", (12,), [], {"frame_stack": 3}),
        ("CartPole-v1", (12,), ["frame_stack=3"], {}),
    ],
)
def test_the_frame_stack_is_that_of_the_network(
    name: str, shape: tuple[int, ...], changes: list[str], wanted: dict[str, Any]
) -> None:
    assert preprocessing_of(name, shape, changes, "a.zip") == {"id": name, "keywords": {}, **wanted}


@pytest.mark.parametrize(
    ("shape", "size", "grey", "stack"),
    [((84, 84, 4), 84, True, 4), ((64, 64, 3), 64, False, 1), ((40, 40, 1), 40, True, 1)],
)
def test_frames_of_atari_have_the_size_and_colours_of_the_network(
    shape: tuple[int, ...], size: int, grey: bool, stack: int
) -> None:
    pytest.importorskip("ale_py")
    keywords = {"size": size, "grey": grey}
    wanted = {"id": "atari:Pong", "keywords": keywords, "frame_stack": stack}
    assert preprocessing_of("atari:Pong", shape, [], "a.zip") == wanted


@pytest.mark.parametrize("shape", [(5,), (3,), (84, 84, 4)])
def test_an_environment_that_gives_no_such_observations_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.zip: its network takes .* and CartPole-v1 gives \(4,\)"):
        preprocessing_of("CartPole-v1", shape, [], "a.zip")


@pytest.mark.parametrize("name", ["sac", "td3", "ppo-continuous"])
def test_continuous_actions_are_drawn_as_the_library_draws_them(name: str, tmp_path: Path) -> None:
    model, checkpoint = saved(name, tmp_path)
    outputs = named_outputs(checkpoint.network(), checkpoint.prepare(STATES))
    found = checkpoint.draw(outputs, torch.Generator().manual_seed(5))
    noise = torch.randn(64, 1, generator=torch.Generator().manual_seed(5))
    assert found is not None
    with torch.no_grad():
        torch.testing.assert_close(found.detach(), drawn_by_the_library(model.policy, noise), rtol=1e-5, atol=1e-5)


def drawn_by_the_library(policy: Any, noise: Tensor) -> Tensor:
    if hasattr(policy, "action_net"):
        distribution = policy.get_distribution(STATES).distribution
        drawn: Tensor = distribution.mean + distribution.stddev * noise
        return drawn
    if not hasattr(policy.actor, "latent_pi"):
        return torch.from_numpy(policy.predict(STATES.numpy(), deterministic=True)[0])
    mean, log_std, _ = policy.actor.get_action_dist_params(STATES)
    return torch.from_numpy(policy.unscale_action(torch.tanh(mean + log_std.exp() * noise).numpy()))


def test_values_of_actions_are_followed_with_the_epsilon_of_the_file(tmp_path: Path) -> None:
    model = new_model("dqn")
    model.exploration_rate = 1.0
    model.save(tmp_path / "a.zip")
    checkpoint = open_checkpoint(tmp_path / "a.zip")
    assert checkpoint.exploration == 1.0
    environment = make(EnvironmentSpec(id="CartPole-v1"), 200, seed=0)
    states, _ = environment.reset()
    chosen = checkpoint_actor(environment, checkpoint, seed=0).act(states)
    assert 60 < chosen.sum() < 140, "all of them are explored"
    model.exploration_rate = 0.0
    model.save(tmp_path / "b.zip")
    greedy = checkpoint_actor(environment, open_checkpoint(tmp_path / "b.zip"), seed=0).act(states)
    np.testing.assert_array_equal(greedy, model.predict(states, deterministic=True)[0])
    environment.close()


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_critics_are_given_the_actions_of_the_set(name: str, tmp_path: Path) -> None:
    model, checkpoint = saved(name, tmp_path)
    collect(EnvironmentSpec(id="Pendulum-v1"), tmp_path / "o.h5", Sampling(samples=20, num_envs=2, stride=1))
    data = open_observations(tmp_path / "o.h5")
    (states,) = data.batches(20)
    for samples in (20, 7):
        rows = np.arange(samples) * 20 // samples
        given = torch.cat(list(network_inputs(checkpoint, data, 4, samples)))
        actions = torch.from_numpy(model.policy.scale_action(data.column("actions")[rows]))
        assert abs(actions).max() <= 1
        with torch.no_grad():
            outputs = checkpoint.network()(given)
            values = model.policy.critic(states[rows], actions)
        assert torch.allclose(outputs["critic0"], values[0], atol=1e-6)
        assert torch.allclose(outputs["critic1"], values[1], atol=1e-6)
    np.save(tmp_path / "o.npy", states.numpy())
    (bare,) = network_inputs(checkpoint, open_observations(tmp_path / "o.npy"), 20)
    assert torch.equal(bare, states), "a set without actions leaves the critics the actor's own"


def test_images_and_their_actions_go_through_one_tensor(tmp_path: Path) -> None:
    model, checkpoint = saved("sac-images", tmp_path)
    images = torch.randint(0, 256, (3, 40, 40, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    actions = torch.rand(3, 2) * 2 - 1
    with torch.no_grad():
        outputs = checkpoint.network()(checkpoint.with_actions(images, actions))
        values = model.policy.critic(model.policy.obs_to_tensor(images.numpy())[0], actions)
    assert torch.allclose(outputs["critic0"], values[0], atol=1e-5)


def test_the_widest_hidden_layer_of_another_librarys_network_is_known(tmp_path: Path) -> None:
    assert widest_hidden(saved("ppo-unusual", tmp_path)[1]) == 24
