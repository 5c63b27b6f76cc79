"""From a library's own run to the numbers: its checkpoints collected for, analyzed, and hooked in the library."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from probe import analyze, open_observations, open_series
from probe.checkpoints import Hints
from probe.observations import ObservationSet
from probe.results import Analysis
from tests.commands.invoke import Invoke
from tests.probe.checkpoints import cleanrl_run
from tests.probe.checkpoints.agents import MlpAgent
from tests.probe.checkpoints.outputs import hooked

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


def numbers_of_hooks(output: Tensor) -> dict[str, float]:
    by_unit = output.transpose(0, 1).flatten(1) if output.ndim == 4 else output.T
    scores = by_unit.abs().double().mean(1)
    dormant = (scores <= 0.1 * scores.mean()).double().mean().item()
    return {"dormant_fraction": dormant, "fau": (by_unit > 0).double().mean().item()}


def rows_of(analysis: Analysis, step: int) -> Iterator[tuple[str, str, float]]:
    for row in analysis.row_list():
        wanted = row.metric == "fau" or (row.metric == "dormant_fraction" and row.threshold == pytest.approx(0.1))
        if wanted and row.aggregation == "layer" and row.step == step:
            yield row.layer, row.metric, row.value


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
            found: dict[str, dict[str, Any]] = {}
            for layer, metric, value in rows_of(analysis, checkpoint.step):
                found.setdefault(layer, {})[metric] = pytest.approx(value, abs=1e-6)
            assert {layer: numbers_of_hooks(output) for layer, output in layers.items()} == found


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


def test_lightnings_own_folder_is_analyzed(tmp_path: Path, probe: Invoke) -> None:
    pytest.importorskip("lightning")
    from tests.probe.checkpoints import lightning_run

    code = lightning_run.__file__
    subprocess.run([sys.executable, code, tmp_path], check=True, capture_output=True)
    assert probe("collect", "CartPole-v1", "--out", tmp_path / "o.h5", "--samples", 60).code == 0
    (batch,) = open_observations(tmp_path / "o.h5").batches(60)
    with analyze(tmp_path / "lightning_logs", tmp_path / "o.h5", hints=Hints(model=f"{code}:Module")) as analysis:
        for path in tmp_path.rglob("epoch*.ckpt"):
            module = lightning_run.Module.load_from_checkpoint(path)
            hidden = torch.relu(module.net.fc1(batch))
            step = torch.load(path)["global_step"]
            found = {metric: value for layer, metric, value in rows_of(analysis, step) if layer == "net:relu"}
            assert found == pytest.approx(numbers_of_hooks(hidden.detach()), abs=1e-6)
