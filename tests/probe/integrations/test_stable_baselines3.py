"""The callback on real algorithms: training stays bit for bit, and layers are those of the library's own model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.env_util import make_vec_env  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

from probe.integrations.stable_baselines3 import MonitorCallback, random_observations  # noqa: E402
from probe.results import open_analysis  # noqa: E402

SETTINGS: dict[str, dict[str, Any]] = {
    "PPO": {"environment": "CartPole-v1", "envs": 2, "n_steps": 32, "n_epochs": 2},
    "SAC": {"environment": "Pendulum-v1", "envs": 1, "learning_starts": 40, "policy_kwargs": {"net_arch": [16, 16]}},
    "DQN": {"environment": "CartPole-v1", "envs": 1, "learning_starts": 40},
}


def trained(name: str, environment: str, envs: int, callback: MonitorCallback | None = None, **options: Any) -> Any:
    algorithm = getattr(sb3, name)(
        "MlpPolicy", make_vec_env(environment, envs, seed=1), seed=1, device="cpu", **options
    )
    return algorithm.learn(128, callback=callback)


def observations(environment: str) -> np.ndarray[Any, Any]:
    return random_observations(make_vec_env(environment, 4), 100)


@pytest.mark.parametrize("name", SETTINGS)
def test_learning_is_bit_for_bit_what_it_is_without_the_callback(name: str, tmp_path: Path) -> None:
    options = SETTINGS[name]
    callback = MonitorCallback(observations(options["environment"]), out=tmp_path / "a.h5", every=50)
    alone, watched = trained(name, **options), trained(name, callback=callback, **options)
    for one, other in zip(alone.policy.state_dict().values(), watched.policy.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with open_analysis(tmp_path / "a.h5") as analysis:
        steps = sorted({each["step"] for each in analysis.checkpoints})
        assert steps == [0, 50, 100] and {each["seed"] for each in analysis.checkpoints} == {1}
        assert {"actor", "critic"} & set(analysis.rows["module"])


def test_the_last_measurement_is_what_hooks_on_the_trained_policy_show(tmp_path: Path) -> None:
    rows = observations("CartPole-v1")
    callback = MonitorCallback(rows, ["activity"], out=tmp_path / "a.h5", every=64)
    model = trained("PPO", callback=callback, **{**SETTINGS["PPO"], "n_steps": 64})
    assert callback.monitor is not None
    callback.monitor.measure(1_000)  # after the last update
    callback.monitor.write()
    seen: dict[str, Tensor] = {}
    for path in ("mlp_extractor.policy_net.1", "mlp_extractor.value_net.3"):
        model.policy.get_submodule(path).register_forward_hook(
            lambda _, given, output, path=path: seen.update({path: output})
        )
    with torch.no_grad():
        model.policy(torch.from_numpy(rows))
    with open_analysis(tmp_path / "a.h5") as analysis:
        for path, output in seen.items():
            (layer,) = [
                each for each in analysis.layers if each["layer"] == path and each["checkpoint"] == last(analysis)
            ]
            mean = analysis.array(layer["checkpoint"], layer["data"], path, "mean")
            assert mean == pytest.approx(output.double().mean(0).numpy(), rel=1e-5, abs=1e-7)


def last(analysis: Any) -> str:
    return str(max(analysis.checkpoints, key=lambda each: int(each["step"]))["digest"])


def test_normalised_observations_are_normalised_as_the_agent_sees_them_now(tmp_path: Path) -> None:
    rows = observations("CartPole-v1")
    environment = VecNormalize(make_vec_env("CartPole-v1", 2, seed=0))
    callback = MonitorCallback(rows, ["activity"], out=tmp_path / "a.h5", every=10_000)
    model = sb3.PPO("MlpPolicy", environment, seed=0, n_steps=64, device="cpu").learn(128, callback=callback)
    assert callback.monitor is not None
    statistics = environment.obs_rms.mean.copy(), environment.obs_rms.count
    callback.monitor.measure(1_000)
    callback.monitor.write()
    assert (environment.obs_rms.mean == statistics[0]).all() and environment.obs_rms.count == statistics[1]
    given = torch.from_numpy(environment.normalize_obs(rows))
    hidden = torch.tanh(model.policy.mlp_extractor.policy_net[0](given)).double().mean(0)
    with open_analysis(tmp_path / "a.h5") as analysis:
        mean = analysis.array(last(analysis), analysis.data[0]["digest"], "mlp_extractor.policy_net.1", "mean")
        assert mean == pytest.approx(hidden.detach().numpy(), rel=1e-5, abs=1e-7)


def test_scalars_reach_the_librarys_own_log(tmp_path: Path) -> None:
    from stable_baselines3.common.logger import configure

    model = sb3.PPO("MlpPolicy", DummyVecEnv([lambda: make_cartpole()]), n_steps=32, n_epochs=1, seed=0, device="cpu")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(64, callback=MonitorCallback(observations("CartPole-v1"), ["fau"], out=tmp_path / "a.h5", every=32))
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    assert "network/dormant_0.025/actor" in header and "network/effective_rank/critic" in header


def make_cartpole() -> Any:
    import gymnasium

    return gymnasium.make("CartPole-v1")


def test_observations_of_several_parts_are_measured(tmp_path: Path) -> None:
    from stable_baselines3.common.envs import SimpleMultiObsEnv

    environment = DummyVecEnv([lambda: SimpleMultiObsEnv(random_start=False)])
    rows = random_observations(environment, 30)
    assert isinstance(rows, dict) and {len(part) for part in rows.values()} == {30}
    model = sb3.PPO("MultiInputPolicy", DummyVecEnv([SimpleMultiObsEnv]), n_steps=64, device="cpu", seed=0)
    model.learn(64, callback=MonitorCallback(rows, ["fau"], out=tmp_path / "a.h5"))
    with open_analysis(tmp_path / "a.h5") as analysis:
        assert {"encoder", "actor", "critic"} == {each["module"] for each in analysis.layers}


def test_learning_on_goes_on_with_the_same_series(tmp_path: Path) -> None:
    callback = MonitorCallback(observations("CartPole-v1"), ["fau"], out=tmp_path / "a.h5", every=50)
    model = trained("PPO", callback=callback, **SETTINGS["PPO"])
    model.learn(64, callback=callback, reset_num_timesteps=False)
    with open_analysis(tmp_path / "a.h5") as analysis:
        assert sorted({each["step"] for each in analysis.checkpoints}) == [0, 50, 100, 150]
