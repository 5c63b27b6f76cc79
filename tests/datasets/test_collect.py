import os
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from probe.checkpoints import open_checkpoint
from probe.checkpoints.native import CheckpointMetadata, checkpoint_name, save
from probe.datasets.collect import Sampling, collect
from probe.datasets.environments import EnvironmentSpec, ShiftSpec, make
from probe.errors import ConfigurationError, FileError, ShapeError
from probe.networks import build, preset
from probe.observations import open_observations

COINRUN = EnvironmentSpec(id="procgen:coinrun", keywords={"num_levels": 50, "distribution_mode": "easy"})


class Clock(gymnasium.Env):
    """Shows its clock and pays it; an episode ends, or is cut off, after `length` decisions."""

    observation_space = Box(0, 1e6, (2,), np.float32)
    action_space = Discrete(3)

    def __init__(self, length=5, truncate=False):
        self.length, self.truncate = length, truncate

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        over = self.time >= self.length
        seen = np.array([self.time, action], np.float32)
        return seen, float(self.time), over and not self.truncate, over and self.truncate, {}


@pytest.fixture(autouse=True, scope="module")
def registered():
    gymnasium.register("ProbeClock-v0", entry_point=Clock)
    yield
    del gymnasium.registry["ProbeClock-v0"]


def clock(**keywords):
    return EnvironmentSpec(id="ProbeClock-v0", keywords=keywords)


def collected(path, specification, policy=None, **sampling):
    summary = collect(specification, path, Sampling(**sampling), policy)
    return summary, open_observations(path)


def rows(observations):
    return torch.cat(list(observations.batches(1000))).numpy()


def test_every_decision_is_kept_at_stride_one(tmp_path):
    summary, found = collected(tmp_path / "a.h5", clock(length=3), samples=14, stride=1, num_envs=2, gamma=0.5)
    assert rows(found)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 0, 0]
    assert found.column("environments").tolist() == [0, 1] * 7
    assert found.column("rewards").tolist() == [1, 1, 2, 2, 3, 3] * 2 + [1, 1]
    assert found.column("episodes").tolist() == [0, 1] * 3 + [2, 3] * 3 + [4, 5]
    assert found.column("episode_starts").tolist() == [True, True, False, False, False, False] * 2 + [True, True]
    whole = [1 + 0.5 * (2 + 0.5 * 3)] * 2 + [2 + 0.5 * 3] * 2 + [3.0] * 2
    np.testing.assert_array_equal(found.column("returns"), [*whole, *whole, np.nan, np.nan])
    assert (summary.episodes, summary.samples) == (6, 14)


def test_actions_are_those_that_led_on_from_the_observation(tmp_path):
    _, found = collected(tmp_path / "a.h5", clock(length=50), samples=100, stride=1, num_envs=2)
    observations, actions = rows(found).reshape(50, 2, 2), found.column("actions").reshape(50, 2)
    np.testing.assert_array_equal(observations[1:, :, 1], actions[:-1])
    assert set(actions.ravel()) == {0, 1, 2}


def test_a_stride_keeps_every_so_many_th_decision_in_turns_and_returns_at_full_rate(tmp_path):
    _, found = collected(tmp_path / "a.h5", clock(length=8), samples=12, stride=4, num_envs=2, gamma=1.0)
    times, environments = rows(found)[:, 0], found.column("environments")
    assert times[environments == 0].tolist() == [0, 4, 0, 4, 0, 4]
    assert times[environments == 1].tolist() == [2, 6, 2, 6, 2, 6]
    expected = [sum(range(int(time) + 1, 9)) for time in times]
    assert found.column("returns")[:8].tolist() == expected[:8]


def test_environments_take_turns_evenly():
    turns = Sampling(samples=1, stride=8, num_envs=16).turns
    assert np.bincount(turns).tolist() == [2] * 8
    assert Sampling(samples=1, stride=8, num_envs=2).turns.tolist() == [0, 4]
    assert Sampling(samples=1, stride=1, num_envs=3).turns.tolist() == [0, 0, 0]


@pytest.mark.parametrize("samples", [1, 2, 3, 16, 17, 40])
@pytest.mark.parametrize(("stride", "num_envs"), [(1, 1), (8, 2), (3, 4), (8, 16)])
def test_the_number_of_decisions_is_known_beforehand(tmp_path, samples, stride, num_envs):
    sampling = Sampling(samples=samples, stride=stride, num_envs=num_envs)
    frames = []
    collect(clock(), tmp_path / "a.h5", sampling, advance=frames.append)
    assert sum(frames) == sampling.decisions * num_envs


def test_returns_are_null_where_an_episode_was_cut_off(tmp_path):
    _, found = collected(tmp_path / "a.h5", clock(length=4, truncate=True), samples=10, stride=1, num_envs=1)
    assert np.isnan(found.column("returns")).all()
    assert found.column("episodes").tolist() == [0] * 4 + [1] * 4 + [2] * 2


def test_real_frames_have_their_levels_and_provenance(tmp_path):
    summary, found = collected(tmp_path / "a.h5", COINRUN, samples=100, stride=2, num_envs=4, seed=5, gamma=0.9)
    assert found.observation_shape == (64, 64, 3) and rows(found).std() > 10
    assert found.column("levels").max() < 50
    assert EnvironmentSpec.model_validate(found.attributes["specification"]) == COINRUN
    expected = {"environment": "procgen:coinrun", "policy": "random", "kind": "pooled", "seed": 5, "stride": 2}
    assert {name: found.attributes[name] for name in expected} == expected
    assert found.attributes["gamma"] == 0.9 and found.attributes["num_envs"] == 4 and found.task == 0
    assert "procgen-mirror" in found.attributes["versions"] or "procgen" in found.attributes["versions"]
    assert summary.bytes == (tmp_path / "a.h5").stat().st_size and summary.digest == found.digest
    assert found.verify()


def test_an_episode_stays_in_one_environment_and_one_level(tmp_path):
    specification = COINRUN.model_copy(update={"id": "procgen:bossfight"})
    _, found = collected(tmp_path / "a.h5", specification, samples=600, stride=1, num_envs=4)
    episodes, levels, environments = (found.column(name) for name in ("episodes", "levels", "environments"))
    assert len(set(episodes)) > 4
    for episode in set(episodes):
        assert len(set(levels[episodes == episode])) == len(set(environments[episodes == episode])) == 1
        assert found.column("episode_starts")[episodes == episode].tolist()[0]


def test_the_seed_decides_the_set_and_threads_do_not(tmp_path):
    digests = [
        collected(tmp_path / f"{name}.h5", COINRUN, samples=64, stride=2, num_envs=4, seed=seed, threads=threads)[
            1
        ].attributes["digest"]
        for name, seed, threads in (("a", 1, 0), ("b", 1, 2), ("c", 2, 0))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_task_is_stored_and_shown(tmp_path):
    specification = COINRUN.model_copy(update={"shift": ShiftSpec(kind="permute-blocks"), "task": 3})
    _, found = collected(tmp_path / "a.h5", specification, samples=8, stride=1, num_envs=8)
    assert found.task == 3
    environment = make(specification, 8, seed=0)
    np.testing.assert_array_equal(rows(found), environment.reset()[0])


def test_continuous_actions_are_stored_as_vectors(tmp_path):
    _, found = collected(tmp_path / "a.h5", EnvironmentSpec(id="Pendulum-v1"), samples=30, num_envs=3, seed=1)
    actions = found.column("actions")
    assert actions.shape == (30, 1) and actions.dtype == np.float32 and len(np.unique(actions)) == 30
    _, again = collected(tmp_path / "b.h5", EnvironmentSpec(id="Pendulum-v1"), samples=30, num_envs=3, seed=1)
    np.testing.assert_array_equal(actions, again.column("actions"))


def checkpoint(folder, specification, observation_shape, actions, name="mlp", bias=None, step=0):
    """Saves an untrained network; with `bias`, one that always takes that action."""
    network = build(preset(name, observation_shape, actions, 16), torch.Generator().manual_seed(0))
    if bias is not None:
        with torch.no_grad():
            network.get_submodule("actor.output").bias[bias] = 1e4
    metadata = CheckpointMetadata(
        step=step,
        frames=0,
        updates=0,
        algorithm="ppo",
        network=network.spec,
        environment=specification.model_dump(mode="json"),
        acting={},
        run="r",
        method="baseline",
        seed=0,
        task=2,
        versions={},
    )
    path = folder / checkpoint_name(step)
    save(path, network, metadata)
    return open_checkpoint(path)


def test_a_checkpoint_acts_with_its_own_policy(tmp_path):
    policy = checkpoint(tmp_path, clock(), (2,), 3, bias=2)
    summary, found = collected(tmp_path / "a.h5", clock(), policy, samples=40, num_envs=2, stride=1)
    assert set(found.column("actions")) == {2}
    assert (summary.kind, found.kind, found.attributes["policy"]) == ("matched", "matched", policy.digest)


def test_a_checkpoints_actions_are_sampled_and_repeatable_and_leave_threads_alone(tmp_path):
    policy = checkpoint(tmp_path, clock(), (2,), 3)
    threads = torch.get_num_threads()
    sets = [collected(tmp_path / name, clock(), policy, samples=90, num_envs=3)[1] for name in ("a.h5", "b.h5")]
    other = collected(tmp_path / "c.h5", clock(), policy, samples=90, num_envs=3, seed=1)[1]
    actions = [each.column("actions").tolist() for each in (*sets, other)]
    assert set(actions[0]) == {0, 1, 2} and actions[0] == actions[1] != actions[2]
    assert torch.get_num_threads() == threads


def test_a_checkpoint_of_another_action_space_or_shape_is_refused_and_leaves_nothing(tmp_path):
    out = tmp_path / "out" / "a.h5"
    with pytest.raises(ConfigurationError, match=r"5 actions.*offers 3"):
        collect(clock(), out, Sampling(samples=9), checkpoint(tmp_path, clock(), (2,), 5))
    (tmp_path / checkpoint_name(0)).unlink()
    with pytest.raises(ShapeError):
        collect(clock(), out, Sampling(samples=9), checkpoint(tmp_path, clock(), (7,), 3))
    assert not list(out.parent.glob("*")) + list(out.parent.glob(".*"))


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"stride": 0}, {"num_envs": 0}, {"seed": -1}, {"gamma": 1.5}, {"gamma": -0.1}]
)
def test_numbers_out_of_range_are_named(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_an_existing_file_is_refused_before_anything_is_played(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_text("")
    monkeypatch.setattr("probe.datasets.collect.make", lambda *_: pytest.fail("played"))
    with pytest.raises(FileError, match="exists already"):
        collect(COINRUN, tmp_path / "a.h5", Sampling())


COLLECT_FOREVER = """
import sys
from pathlib import Path
from probe.datasets.collect import Sampling, collect
from probe.datasets.environments import EnvironmentSpec
print("ready", flush=True)
collect(EnvironmentSpec(id="procgen:coinrun"), Path(sys.argv[1]), Sampling(samples=10**6, stride=1))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_collection_leaves_nothing_that_looks_complete(tmp_path, how):
    path = tmp_path / "a.h5"
    running = subprocess.Popen([sys.executable, "-c", COLLECT_FOREVER, path], stdout=subprocess.PIPE, stderr=-3)
    running.stdout.readline()
    deadline = time.monotonic() + 30
    while not any(file.stat().st_size > 100_000 for file in tmp_path.iterdir()):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    os.kill(running.pid, how)
    running.communicate(timeout=30)
    assert running.returncode != 0 and not path.exists()
    leftovers = list(tmp_path.iterdir())
    assert not leftovers or how == signal.SIGKILL
    for leftover in leftovers:
        with pytest.raises(FileError):
            open_observations(leftover)
    collected(path, COINRUN, samples=32)
