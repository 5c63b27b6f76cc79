"""From a library's own run to the numbers: its checkpoints collected for, analyzed, and hooked in the library."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from probe import analyze, open_analysis, open_observations, open_series
from probe.checkpoints import Hints
from probe.observations import ObservationSet
from tests.commands.hooked_numbers import assert_numbers_of_hooks
from tests.commands.invoke import Invoke
from tests.probe.checkpoints import cleanrl_run, ddpg_run
from tests.probe.checkpoints.agents import MlpAgent
from tests.probe.checkpoints.outputs import hooked, outputs_of

CHECKPOINTS = 5
ENVIRONMENTS = {"ppo": "CartPole-v1", "sac": "Pendulum-v1", "pong": "atari:Pong", "cleanrl": "CartPole-v1"}
EVERY = {"ppo": 16, "sac": 4, "pong": 8}


def written(name: str, folder: Path) -> None:
    if name == "cleanrl":
        cleanrl_run.train(folder, CHECKPOINTS)
        return
    pytest.importorskip("stable_baselines3")
    from tests.probe.checkpoints.sb3_runs import train

    train(name, folder, EVERY[name] * CHECKPOINTS, EVERY[name])


def layers_of_the_library(name: str, path: Path, data: ObservationSet) -> dict[str, Tensor]:
    """Loads a checkpoint as its own library does and hooks every activation on the observations of a set."""
    (batch,) = data.batches(data.samples)
    if name == "cleanrl":
        agent = MlpAgent()
        agent.load_state_dict(torch.load(path))
        return hooked(agent, lambda: agent.get_action_and_value(batch))
    from stable_baselines3 import PPO, SAC

    policy = (SAC if name == "sac" else PPO).load(path, device="cpu").policy
    given, _ = policy.obs_to_tensor(batch.numpy())
    if name == "sac":
        actions = torch.from_numpy(policy.scale_action(data.column("actions")))
        return hooked(policy, lambda: (policy.actor(given, deterministic=True), policy.critic(given, actions)))
    return hooked(policy, lambda: policy(given, deterministic=True))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_numbers_are_those_of_hooks_in_the_library(name: str, tmp_path: Path, probe: Invoke) -> None:
    folder, file = tmp_path / "logs" / "run_1", tmp_path / "o.h5"
    written(name, folder)
    collected = probe(
        *("collect", ENVIRONMENTS[name], "--for", folder, "--out", file),
        *("--samples", 60, "--num-envs", 4, "--stride", 2),
    )
    assert collected.code == 0, collected.error
    assert ("frame_stack=4, size=84, grey=True" in collected.error) == (name == "pong")
    data = open_observations(file)
    (series,) = open_series([folder])
    assert len(series.checkpoints) == CHECKPOINTS
    with analyze(folder, file, probes=["dormancy", "fau"]) as analysis:
        for checkpoint in series.checkpoints:
            layers = layers_of_the_library(name, checkpoint.path, data)
            assert_numbers_of_hooks(analysis, checkpoint.step, layers)


def test_each_checkpoint_plays_for_itself(tmp_path: Path, probe: Invoke) -> None:
    written("sac", folder := tmp_path / "run_1")
    arguments = ("Pendulum-v1", "--per-checkpoint", folder, "--out", tmp_path / "sets", "--samples", 20)
    assert probe("collect", *arguments, "--num-envs", 2).code == 0
    sets = [open_observations(path) for path in sorted((tmp_path / "sets").iterdir())]
    (series,) = open_series([folder])
    assert [each.attributes["policy"] for each in sets] == [each.digest for each in series.checkpoints]
    assert all(abs(each.column("actions")).max() <= 2 for each in sets), "within the environment's bounds"
    with analyze(folder, tmp_path / "sets", probes=["fau"]) as analysis:
        assert sorted({each["step"] for each in analysis.checkpoints}) == [4, 8, 12, 16, 20]


def test_somebodys_critics_are_measured_on_the_actions_of_the_set(tmp_path: Path, probe: Invoke) -> None:
    ddpg_run.train(tmp_path / "ddpg", CHECKPOINTS)
    sets, out = tmp_path / "o.h5", tmp_path / "a.h5"
    assert probe("collect", "Pendulum-v1", "--out", sets, "--samples", 60, "--num-envs", 4).code == 0
    said = ("--model", f"{ddpg_run.__file__}:QNetwork", "--probe", "dormancy", "--probe", "fau")
    analyzed = probe("analyze", tmp_path / "ddpg", "--data", sets, "--out", out, *said)
    assert analyzed.code == 0, analyzed.error
    data = open_observations(sets)
    (states,), actions = data.batches(60), torch.from_numpy(data.column("actions"))
    critic = ddpg_run.QNetwork()
    with open_analysis(out) as analysis:
        assert {row.module for row in analysis.row_list()} == {"critic", "all"}
        for path in (tmp_path / "ddpg").iterdir():
            critic.load_state_dict(torch.load(path)[1])
            hidden = outputs_of({":relu": critic.fc1, ":relu#2": critic.fc2}, partial(critic, states, actions))
            step = int(path.stem.removeprefix("ddpg_"))
            assert_numbers_of_hooks(analysis, step, {name: given.relu() for name, given in hidden.items()})


def test_lightnings_own_folder_is_analyzed(tmp_path: Path, probe: Invoke) -> None:
    pytest.importorskip("lightning")
    from tests.probe.checkpoints import lightning_run

    code = lightning_run.__file__
    subprocess.run([sys.executable, code, tmp_path], check=True, capture_output=True)
    assert probe("collect", "CartPole-v1", "--out", tmp_path / "o.h5", "--samples", 60).code == 0
    (batch,) = open_observations(tmp_path / "o.h5").batches(60)
    with analyze(tmp_path / "lightning_logs", tmp_path / "o.h5", hints=Hints(model=f"{code}:Module")) as analysis:
        paths = list(tmp_path.rglob("epoch*.ckpt"))
        assert len(paths) == CHECKPOINTS
        for path in paths:
            module = lightning_run.Module.load_from_checkpoint(path)
            hidden = {"net:relu": module.net.fc1, "net:relu#2": module.net.fc2}
            rectified = {name: given.relu() for name, given in outputs_of(hidden, partial(module, batch)).items()}
            assert_numbers_of_hooks(analysis, torch.load(path)["global_step"], rectified)
