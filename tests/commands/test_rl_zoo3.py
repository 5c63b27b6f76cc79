"""Folders that rl-zoo3 wrote, collected for and analyzed as they are, against hooks in the library's own model."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

if find_spec("rl_zoo3") is None:  # it is not imported here, for it patches Gymnasium
    pytest.skip("rl_zoo3 is not installed", allow_module_level=True)

from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from probe import open_analysis, open_observations, open_series
from probe.observations import ObservationSet
from tests.commands.hooked_numbers import assert_numbers_of_hooks
from tests.commands.invoke import Invoke
from tests.probe.checkpoints.outputs import hooked

RUNS = Path(__file__).parents[1] / "probe/checkpoints/rl_zoo3_runs.py"
STEPS = {
    "ppo": [64, 128, 192, 256, 320, 384, 400],
    "a2c": [64, 128, 192, 256, 320],
    "sac": [50, 100, 150, 200, 250, 300],
}
ENVIRONMENTS = {"ppo": "CartPole-v1", "a2c": "Pendulum-v1", "sac": "Pendulum-v1"}
NOTES = {
    "ppo": "best_model.zip is left out: CartPole-v1.zip is at its step, too.",
    "a2c": "observations are normalised with the statistics that lie beside it, at steps 64 to 320 with",
    "sac": "its critics are given the actions that a set holds",
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    subprocess.run([sys.executable, RUNS, folder], check=True, capture_output=True)
    return folder


def in_the_library(algorithm: str, path: Path, data: ObservationSet) -> tuple[Any, Callable[[], Any]]:
    """Returns the policy of a checkpoint, and what runs it on a set as the library's agents run."""
    policy: Any = {"ppo": PPO, "a2c": A2C, "sac": SAC}[algorithm].load(path, device="cpu").policy
    (batch,) = data.batches(data.samples)
    seen = batch.numpy()
    if algorithm == "a2c":
        statistics = path.parent / "Pendulum-v1" / "vecnormalize.pkl"
        seen = VecNormalize.load(str(statistics), make_vec_env("Pendulum-v1")).normalize_obs(seen)
    given, _ = policy.obs_to_tensor(seen)
    if algorithm == "sac":
        actions = torch.from_numpy(policy.scale_action(data.column("actions")))
        return policy, lambda: (policy.actor(given, deterministic=True), policy.critic(given, actions))
    return policy, partial(policy, given, deterministic=True)


@pytest.mark.parametrize("algorithm", STEPS)
def test_its_folder_is_analyzed_as_it_is(algorithm: str, logs: Path, tmp_path: Path, probe: Invoke) -> None:
    environment, sets, out = ENVIRONMENTS[algorithm], tmp_path / "o.h5", tmp_path / "a.h5"
    folder = logs / algorithm / f"{environment}_1"
    collected = probe("collect", environment, "--for", folder, "--out", sets, "--samples", 60, "--stride", 2)
    assert collected.code == 0, collected.error
    chosen = ("--probe", "dormancy", "--probe", "fau")
    analyzed = probe("analyze", folder, "--data", sets, "--out", out, *chosen, "--trust-pickle")
    assert analyzed.code == 0, analyzed.error
    assert NOTES[algorithm] in " ".join(analyzed.error.split())
    data = open_observations(sets)
    (series,) = open_series([folder])
    assert [each.step for each in series.checkpoints] == STEPS[algorithm]
    assert (series.run, series.method, series.seed) == (f"{environment}_1", algorithm, 1)
    with open_analysis(out) as analysis:
        for checkpoint in series.checkpoints:
            policy, run = in_the_library(algorithm, checkpoint.path, data)
            assert_numbers_of_hooks(analysis, checkpoint.step, hooked(policy, run))
