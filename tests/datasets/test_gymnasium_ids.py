import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from probe.datasets.environments import EnvironmentSpec, ShiftSpec, make
from probe.errors import ConfigurationError


class Counter(gymnasium.Env):
    """Shows its clock; ends after `length` frames, by `truncated` where asked."""

    def __init__(self, length=5, truncate=False, image=False, grey=False):
        shape = (8, 8) if grey else (8, 8, 2) if image else (3,)
        self.observation_space = Box(0, 255, shape, np.uint8 if image or grey else np.float64)
        self.action_space = Discrete(4)
        self.length, self.truncate = length, truncate

    def _frame(self):
        return np.full(self.observation_space.shape, self.time, self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._frame(), {}

    def step(self, action):
        self.time += 1
        over = self.time >= self.length
        return self._frame(), float(self.time), over and not self.truncate, over and self.truncate, {}


@pytest.fixture(autouse=True, scope="module")
def registered():
    gymnasium.register("ProbeCounter-v0", entry_point=Counter)
    yield
    del gymnasium.registry["ProbeCounter-v0"]


def counter(num_envs=2, keywords=None, **settings):
    environment = make(EnvironmentSpec(id="ProbeCounter-v0", keywords=keywords or {}, **settings), num_envs, seed=0)
    environment.reset()
    return environment


def test_vectors_become_float32():
    environment = counter()
    observations = environment.step(np.zeros(2, int))[0]
    assert observations.dtype == np.float32 and observations.tolist() == [[1, 1, 1]] * 2
    assert environment.single_observation_space.dtype == np.float32


@pytest.mark.parametrize(("form", "shape"), [({"image": True}, (8, 8, 2)), ({"grey": True}, (8, 8, 1))])
def test_images_stay_uint8_with_a_channel_axis(form, shape):
    environment = counter(keywords=form)
    observations = environment.step(np.zeros(2, int))[0]
    assert observations.shape == (2, *shape) and observations.dtype == np.uint8
    assert environment.observation_space.contains(observations)


def test_discrete_observations_become_one_hot():
    environment = make(EnvironmentSpec(id="FrozenLake-v1"), 2, seed=0)
    observations, _ = environment.reset()
    assert observations.shape == (2, 16) and observations.dtype == np.float32
    assert observations.tolist() == [[1.0] + [0.0] * 15] * 2


@pytest.mark.parametrize("truncate", [False, True])
def test_an_end_starts_the_next_episode_in_the_same_step_and_passes_the_final_observation_on(truncate):
    environment = counter(keywords={"length": 2, "truncate": truncate}, frame_stack=2)
    environment.step(np.zeros(2, int))
    observations, rewards, terminated, truncated, infos = environment.step(np.zeros(2, int))
    assert terminated.tolist() == [not truncate] * 2 and truncated.tolist() == [truncate] * 2
    assert observations.tolist() == [[0] * 6] * 2
    assert infos["final_obs"].tolist() == [[1, 1, 1, 2, 2, 2]] * 2 and infos["_final_obs"].all()
    assert infos["episode"]["r"].tolist() == [3, 3] and infos["episode"]["l"].tolist() == [2, 2]
    assert rewards.dtype == np.float32


def test_final_observations_of_some_environments_only_are_marked():
    environment = make(EnvironmentSpec(id="CartPole-v1"), 8, seed=0)
    environment.reset()
    for _ in range(60):
        observations, _, terminated, truncated, infos = environment.step(np.ones(8, int))
        if "final_obs" in infos:
            np.testing.assert_array_equal(infos["_final_obs"], terminated | truncated)
            ended = infos["_final_obs"]
            assert (np.abs(infos["final_obs"][ended, 2]) > 0.2).all(), "the pole has fallen"
            assert (np.abs(observations[ended, 2]) < 0.06).all(), "and stands again"


def test_a_decision_is_repeated_until_the_episode_ends():
    environment = counter(keywords={"length": 5}, action_repeat=3, reward_per_step=-1.0)
    assert environment.step(np.zeros(2, int))[1].tolist() == [1 + 2 + 3 - 1] * 2
    _, rewards, terminated, _, _ = environment.step(np.zeros(2, int))
    assert rewards.tolist() == [4 + 5 - 1] * 2 and terminated.all()
    assert environment.step(np.zeros(2, int))[1].tolist() == [1 + 2 + 3 - 1] * 2


def test_the_step_limit_truncates():
    environment = counter(keywords={"length": 50}, step_limit=3)
    ends = [environment.step(np.zeros(2, int))[3].tolist() for _ in range(6)]
    assert ends == [[False] * 2, [False] * 2, [True] * 2] * 2


def test_images_can_be_shifted():
    shift = ShiftSpec(kind="permute-blocks", grid=4)
    assert counter(keywords={"image": True}, shift=shift).current_observations().shape == (2, 8, 8, 2)


def test_states_cannot_be_saved_and_this_is_said():
    environment = counter()
    assert environment.get_state() is None
    with pytest.raises(ConfigurationError, match="cannot restore"):
        environment.set_state(b"")


def test_the_seed_decides_the_first_episode():
    starts = [make(EnvironmentSpec(id="CartPole-v1"), 3, seed=seed).reset()[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert (starts[0] != starts[2]).any()
    assert (starts[0][0] != starts[0][1]).any()


def test_a_second_reset_draws_a_new_episode():
    environment = make(EnvironmentSpec(id="CartPole-v1"), 1, seed=1)
    assert (environment.reset()[0] != environment.reset()[0]).any()


def test_a_value_that_the_environment_refuses_is_named():
    with pytest.raises(ConfigurationError, match=r"FrozenLake-v1.*map_name"):
        make(EnvironmentSpec(id="FrozenLake-v1", keywords={"map_name": "none such"}), 1, seed=0)
