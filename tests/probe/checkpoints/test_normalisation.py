"""Observations as an agent saw them: the statistics that Stable-Baselines3 pickled beside its checkpoints."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from probe.checkpoints import Hints, open_series
from probe.checkpoints.normalisation import read_vecnormalize
from probe.errors import FileError, ShapeError
from tests.probe.checkpoints.test_sb3 import Hostile

BATCH = 30 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
TRUSTED = Hints(trust_pickle=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints with the statistics of their own step beside them."""
    folder = tmp_path_factory.mktemp("a2c")
    with torch.random.fork_rng(devices=[]):
        environment = VecNormalize(make_vec_env("Pendulum-v1", 2, seed=0), clip_obs=2.5)
        keep = CheckpointCallback(5, str(folder), save_vecnormalize=True)
        A2C("MlpPolicy", environment, seed=0, device="cpu").learn(50, callback=keep)
    return folder


def as_the_library_sees(path: Path) -> torch.Tensor:
    seen = VecNormalize.load(str(path), make_vec_env("Pendulum-v1", 1)).normalize_obs(BATCH.numpy())
    return torch.from_numpy(np.asarray(seen, np.float32))


def test_each_checkpoint_has_the_statistics_of_its_own_step(run: Path) -> None:
    (series,) = open_series([run], TRUSTED)
    assert [each.step for each in series.checkpoints] == [10, 20, 30, 40, 50]
    for each in series.checkpoints:
        wanted = as_the_library_sees(run / f"rl_model_vecnormalize_{each.step}_steps.pkl")
        assert torch.allclose(each.prepare(BATCH), wanted, atol=1e-6)
    assert series.checkpoints[0].notes() == ("observations are normalised with the statistics that lie beside it",)
    assert series.checkpoints[0].prepare(BATCH).abs().max() == 2.5


def test_one_file_of_a_folder_below_serves_all_and_that_is_said(run: Path, tmp_path: Path) -> None:
    for step in (10, 20):
        shutil.copy(run / f"rl_model_{step}_steps.zip", tmp_path)
    own = tmp_path / "Pendulum-v1"  # rl-zoo3's place
    own.mkdir()
    shutil.copy(run / "rl_model_vecnormalize_50_steps.pkl", own / "vecnormalize.pkl")
    (series,) = open_series([tmp_path], TRUSTED)
    for each in series.checkpoints:
        assert torch.allclose(each.prepare(BATCH), as_the_library_sees(own / "vecnormalize.pkl"), atol=1e-6)
    assert "at steps 10 to 20 with vecnormalize.pkl, saved at another time" in series.checkpoints[0].notes()[0]


def test_a_checkpoint_without_its_own_has_the_latest(run: Path, tmp_path: Path) -> None:
    for step in (10, 20):
        shutil.copy(run / f"rl_model_{step}_steps.zip", tmp_path)
    for step, name in ((10, "100"), (30, "1000")):
        shutil.copy(
            run / f"rl_model_vecnormalize_{step}_steps.pkl", tmp_path / f"rl_model_vecnormalize_{name}_steps.pkl"
        )
    (series,) = open_series([tmp_path], TRUSTED)
    wanted = as_the_library_sees(run / "rl_model_vecnormalize_30_steps.pkl")
    assert all(torch.allclose(each.prepare(BATCH), wanted, atol=1e-6) for each in series.checkpoints)


def test_without_the_users_word_it_stays_closed_and_is_named(run: Path) -> None:
    (series,) = open_series([run])
    assert torch.equal(series.checkpoints[0].prepare(BATCH), BATCH)
    assert "--trust-pickle to read it" in series.checkpoints[0].notes()[0]
    (trusted,) = open_series([run], TRUSTED)
    assert trusted.checkpoints[0].digest != series.checkpoints[0].digest


def test_given_statistics_come_before_those_that_lie_there(run: Path) -> None:
    hints = Hints(trust_pickle=True, mean=np.zeros(3), variance=np.full(3, 100.0))
    assert torch.allclose(open_series([run], hints)[0].checkpoints[0].prepare(BATCH), BATCH / 10, atol=1e-6)
    with pytest.raises(ShapeError, match=r"mean has shape \(2,\)"):
        hints = Hints(mean=np.zeros(2), variance=np.ones(2))
        open_series([run], hints)[0].checkpoints[0].prepare(BATCH)


def test_a_run_that_normalised_rewards_alone_is_left_as_it_is(tmp_path: Path) -> None:
    VecNormalize(make_vec_env("Pendulum-v1", 1), norm_obs=False).save(str(tmp_path / "vecnormalize.pkl"))
    assert read_vecnormalize(tmp_path / "vecnormalize.pkl") is None


def test_only_values_are_taken_from_a_pickle(tmp_path: Path) -> None:
    evidence, path = tmp_path / "it-ran", tmp_path / "vecnormalize.pkl"
    for content in (pickle.dumps(Hostile(evidence)), pickle.dumps({"a": 1}), b"", b"no pickle"):
        path.write_bytes(content)
        with pytest.raises(FileError, match="no statistics of VecNormalize"):
            read_vecnormalize(path)
    assert not evidence.exists()
