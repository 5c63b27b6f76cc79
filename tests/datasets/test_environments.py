import json
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from probe.datasets.environments import EnvironmentSpec, ShiftSpec, VectorEnvironment, environment_names, make
from probe.errors import ConfigurationError, MissingExtraError, UnknownNameError

EASY = {"num_levels": 20, "start_level": 0, "distribution_mode": "easy"}


def spec(game="coinrun", **settings):
    return EnvironmentSpec(**{"id": f"procgen:{game}", "keywords": EASY, **settings})


def play(environment, steps, seed):
    """Returns everything that `steps` random decisions give."""
    rng = np.random.default_rng(seed)
    count = int(environment.single_action_space.n)
    return [environment.step(rng.integers(count, size=environment.num_envs)) for _ in range(steps)]


def assert_same_steps(some, others):
    for one, other in zip(some, others, strict=True):
        for left, right in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(left, right)
        assert one[4].keys() == other[4].keys()
        for key, value in one[4].items():
            if key == "episode":
                np.testing.assert_array_equal(value["r"], other[4][key]["r"])
                np.testing.assert_array_equal(value["l"], other[4][key]["l"])
            else:
                np.testing.assert_array_equal(value, other[4][key])


def test_every_game_runs_and_keeps_its_promises():
    games = [name for name in environment_names() if name.startswith("procgen:")]
    assert len(games) == 16
    for name in games:
        environment = make(EnvironmentSpec(id=name), 2, seed=0)
        observations, infos = environment.reset()
        assert observations.shape == (2, 64, 64, 3) and observations.dtype == np.uint8
        assert infos["level_seed"].shape == (2,)
        observations, rewards, terminated, truncated, _ = environment.step(np.zeros(2, np.int64))
        assert environment.observation_space.contains(observations)
        assert rewards.dtype == np.float32 and terminated.dtype == truncated.dtype == np.bool_
        environment.close()


def test_autoreset_is_declared_as_same_step():
    for name in ("procgen:coinrun", "CartPole-v1"):
        assert make(EnvironmentSpec(id=name), 1, 0).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


SITUATIONS = {
    "coinrun": spec("coinrun"),
    "maze": spec("maze", frame_stack=3),
    "bigfish": spec("bigfish", action_repeat=3, reward_per_step=-0.01),
    "fruitbot": spec("fruitbot", action_repeat=2, step_limit=15, actions=9),
    "leaper": spec("leaper", frame_stack=2, step_limit=10, shift=ShiftSpec(kind="permute-blocks"), task=2),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_a_restored_state_continues_exactly_in_a_fresh_environment_of_another_seed(situation):
    first = make(situation, 3, seed=1)
    first.reset()
    play(first, 37, seed=5)
    if situation.shift is not None:
        first.set_task(7)
    state = first.get_state()
    assert isinstance(state, bytes)
    second = make(situation, 3, seed=99)
    second.set_state(state)
    assert second.task == first.task
    np.testing.assert_array_equal(second.current_observations(), first.current_observations())
    assert_same_steps(play(first, 100, seed=6), play(second, 100, seed=6))


def test_saving_a_state_changes_nothing_and_is_repeatable():
    watched, left_alone = make(spec(), 2, seed=3), make(spec(), 2, seed=3)
    for environment in (watched, left_alone):
        environment.reset()
    assert watched.get_state() == watched.get_state()
    assert_same_steps(play(watched, 30, seed=0), play(left_alone, 30, seed=0))


def test_a_state_holds_no_pickle():
    environment = make(spec(), 1, seed=0)
    state = environment.get_state()
    header = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])
    assert {"games.bytes", "frames", "carried"} <= set(header)


@pytest.mark.parametrize("state", [b"", b"not a state", b"\x08" + b"\0" * 20])
def test_a_damaged_state_is_refused(state):
    with pytest.raises(ConfigurationError):
        make(spec(), 1, seed=0).set_state(state)


def test_a_state_of_another_game_or_size_is_refused_and_named():
    state = make(spec("maze"), 2, seed=0).get_state()
    with pytest.raises(ConfigurationError, match=r"maze.*coinrun"):
        make(spec("coinrun"), 2, seed=0).set_state(state)
    with pytest.raises(ConfigurationError, match="Resume with the settings"):
        make(spec("maze"), 3, seed=0).set_state(state)


def test_a_cut_state_is_refused():
    state = make(spec(), 1, seed=0).get_state()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        make(spec(), 1, seed=0).set_state(state[:-100])


def test_the_seed_decides_everything_and_threads_nothing():
    runs = []
    for seed, threads in ((4, 0), (4, 2), (5, 0)):
        environment = make(spec(), 4, seed, threads)
        environment.reset()
        runs.append(play(environment, 40, seed=0))
    assert_same_steps(runs[0], runs[1])
    assert any((one[0] != other[0]).any() for one, other in zip(runs[0], runs[2], strict=True))


def test_reset_with_a_seed_starts_the_same_games_anew():
    environment = make(spec(), 2, seed=8)
    first, infos = environment.reset()
    play(environment, 10, seed=0)
    again, infos_again = environment.reset(seed=8)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(infos["level_seed"], infos_again["level_seed"])


def test_reset_without_a_seed_starts_new_episodes():
    environment = make(spec("bigfish"), 4, seed=8)
    environment.reset()
    play(environment, 25, seed=0)
    _, infos = environment.reset()
    assert set(infos) == {"level_seed"}
    ended = [step for step in play(environment, 30, seed=1) if "episode" in step[4]]
    assert all(step[4]["episode"]["l"].max() <= 30 for step in ended)


def test_levels_stay_inside_the_asked_range_and_belong_to_what_is_played():
    environment = make(spec(keywords={"num_levels": 5, "start_level": 100, "distribution_mode": "easy"}), 4, seed=0)
    _, infos = environment.reset()
    levels = [infos["level_seed"], *(step[4]["level_seed"] for step in play(environment, 200, seed=0))]
    seen = np.concatenate(levels)
    assert seen.min() >= 100 and seen.max() < 105
    assert levels[0].tolist() == [info["level_seed"] for info in fresh_games(environment).get_info()]


def fresh_games(environment):
    environment.reset(seed=0)
    return environment._games


def test_episode_statistics_are_sums_over_the_episode():
    environment = make(spec("bigfish", reward_per_step=-0.25), 4, seed=2)
    environment.reset()
    returns, lengths, checked = np.zeros(4), np.zeros(4, int), 0
    for _, rewards, terminated, truncated, infos in play(environment, 500, seed=0):
        returns += rewards
        lengths += 1
        assert not truncated.any() and ("episode" in infos) == bool(terminated.any())
        if "episode" in infos:
            np.testing.assert_array_equal(infos["_episode"], terminated)
            np.testing.assert_allclose(infos["episode"]["r"][terminated], returns[terminated], rtol=1e-5)
            np.testing.assert_array_equal(infos["episode"]["l"][terminated], lengths[terminated])
            assert infos["episode"]["r"].dtype == np.float32 and infos["episode"]["l"].dtype == np.int32
            checked += int(terminated.sum())
        returns[terminated], lengths[terminated] = 0, 0
    assert checked > 3


def test_the_decision_after_the_step_limit_ends_the_episode():
    environment = make(spec("coinrun", step_limit=6), 3, seed=0)
    environment.reset()
    noop = np.full(3, 4)
    ends = [environment.step(noop)[2].all() for _ in range(14)]
    assert [index + 1 for index, end in enumerate(ends) if end] == [7, 14]


def test_the_step_limit_resets_one_environment_and_leaves_the_others_alone():
    limited, free = make(spec("bossfight", step_limit=25), 4, seed=0), make(spec("bossfight"), 4, seed=0)
    for environment in (limited, free):
        environment.reset()
    before, same = play(limited, 25, seed=0), play(free, 25, seed=0)
    assert_same_steps(before, same)
    restarted = np.logical_or.reduce([step[2] for step in before])
    assert restarted.any() and not restarted.all(), "this test needs some that ended by themselves"
    (after,), (unlimited,) = play(limited, 1, seed=1), play(free, 1, seed=1)
    assert after[2][~restarted].all() and not unlimited[2].any()
    np.testing.assert_array_equal(after[0][restarted], unlimited[0][restarted])
    assert (after[0][~restarted] != unlimited[0][~restarted]).any()


class ScriptedGames:
    """Stands in for ProcgenGym3Env: rewards and ends are read from a script, actions are noted."""

    def __init__(self, rewards, firsts):
        self.rewards, self.firsts, self.actions, self.time = np.array(rewards), np.array(firsts, bool), [], -1

    def act(self, actions):
        self.actions.append(actions.tolist())
        self.time += 1

    def observe(self):
        frames = np.full((self.rewards.shape[1], 64, 64, 3), self.time, np.uint8)
        return self.rewards[self.time].astype(np.float32), {"rgb": frames}, self.firsts[self.time]

    def get_info(self):
        return [{"level_seed": 0} for _ in range(self.rewards.shape[1])]

    def close(self):
        pass


def scripted(rewards, firsts, **settings):
    environment = make(spec(**settings), len(rewards[0]), seed=0)
    environment.reset()
    environment._games = ScriptedGames(rewards, firsts)
    return environment


def test_repetition_stops_at_an_end_and_the_new_episodes_reward_is_carried_over():
    # Environment 0 ends in the second of three frames; 5 is earned by its new episode, in the third.
    rewards = [[1, 1], [2, 2], [5, 4], [10, 1], [10, 1], [10, 1]]
    firsts = [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    environment = scripted(rewards, firsts, action_repeat=3, reward_per_step=-0.5)
    _, first, terminated, _, infos = environment.step(np.array([7, 8]))
    assert first.tolist() == [1 + 2 - 0.5, 1 + 2 + 4 - 0.5]
    assert terminated.tolist() == [True, False]
    assert infos["episode"]["r"].tolist() == [2.5, 0] and infos["episode"]["l"].tolist() == [1, 0]
    _, second, terminated, _, _ = environment.step(np.array([7, 8]))
    assert second.tolist() == [5 + 30 - 0.5, 3 - 0.5]
    assert not terminated.any()
    assert environment._games.actions == [[7, 8], [7, 8], [4, 8], [7, 8], [7, 8], [7, 8]]


def test_an_episode_that_ends_before_its_first_decision_leaves_no_reward():
    rewards, firsts = [[1], [9], [2], [0], [0], [0]], [[1], [1], [0], [0], [0], [0]]
    environment = scripted(rewards, firsts, action_repeat=3)
    assert environment.step(np.array([0]))[1].tolist() == [1]
    assert environment.step(np.array([0]))[1].tolist() == [2]


def test_a_forced_reset_is_played_in_the_last_frame_of_the_decision():
    firsts = [[0], [0], [0], [1]]
    environment = scripted([[1], [1], [1], [1]], firsts, action_repeat=2, step_limit=1)
    environment.step(np.array([3]))
    assert environment.step(np.array([3]))[2].tolist() == [True]
    assert environment._games.actions == [[3], [3], [3], [-1]]


def test_a_stack_shows_the_last_frames_oldest_first_and_starts_with_copies():
    firsts = [[0], [0], [1], [0]]
    environment = scripted([[0]] * 4, firsts, frame_stack=3)
    seen = [environment.step(np.array([0]))[0][0, 0, 0, ::3].tolist() for _ in range(4)]
    assert seen[1][1:] == [0, 1]
    assert seen[2] == [2, 2, 2] and seen[3] == [2, 2, 3]
    assert environment.single_observation_space.shape == (64, 64, 9)


def test_earlier_observations_are_not_written_over():
    environment = make(spec(frame_stack=2), 2, seed=0)
    kept, _ = environment.reset()
    copy = kept.copy()
    play(environment, 5, seed=0)
    np.testing.assert_array_equal(kept, copy)


def test_only_the_first_actions_are_offered():
    environment = make(spec(actions=9), 2, seed=0)
    assert environment.single_action_space.n == 9
    environment.reset()
    for wrong in ([0, 9], [-1, 0], [0]):
        with pytest.raises(ValueError, match="0 to 8"):
            environment.step(np.array(wrong))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"id": "procgen:conrun"}, UnknownNameError, "Did you mean: coinrun"),
        ({"id": "procgen:coinrun", "keywords": {"num_level": 1}}, UnknownNameError, "Did you mean: num_levels"),
        ({"id": "procgen:coinrun", "keywords": {"rand_seed": 1}}, UnknownNameError, "rand_seed"),
        ({"id": "procgen:coinrun", "keywords": {"distribution_mode": "esy"}}, UnknownNameError, "Did you mean: easy"),
        ({"id": "procgen:coinrun", "keywords": {"distribution_mode": "memory"}}, ConfigurationError, "heist"),
        ({"id": "procgen:bigfish", "keywords": {"distribution_mode": "exploration"}}, ConfigurationError, "coinrun"),
        (
            {"id": "procgen:coinrun", "keywords": {"distribution_mode": "exploration", "num_levels": 3}},
            ConfigurationError,
            "num_levels",
        ),
        ({"id": "procgen:coinrun", "keywords": {"num_levels": "many"}}, ConfigurationError, "expected an integer"),
        ({"id": "procgen:coinrun", "keywords": {"num_levels": True}}, ConfigurationError, "expected an integer"),
        ({"id": "procgen:coinrun", "keywords": {"num_levels": -1}}, ConfigurationError, "expected 0"),
        ({"id": "procgen:coinrun", "keywords": {"paint_vel_info": 1}}, ConfigurationError, "true or false"),
        ({"id": "procgen:coinrun", "actions": 16}, ConfigurationError, "15 actions"),
        ({"id": "CartPole-v11"}, UnknownNameError, "Did you mean: CartPole-v1"),
        ({"id": "CartPole-v1", "keywords": {"suton": True}}, UnknownNameError, "sutton"),
        ({"id": "CartPole-v1", "actions": 3}, ConfigurationError, "Discrete"),
        ({"id": "Pendulum-v1", "actions": 3}, ConfigurationError, "action space"),
        ({"id": "Blackjack-v1"}, ConfigurationError, "images or vectors"),
        ({"id": "procgn:coinrun"}, UnknownNameError, "Did you mean: procgen:coinrun"),
        ({"id": "nothing_here:CartPole-v1"}, MissingExtraError, "nothing_here"),
        ({"id": "CartPole-v1", "shift": {"kind": "permute-blocks"}}, ConfigurationError, "needs images"),
    ],
)
def test_bad_settings_are_named_with_what_was_expected(settings, error, words):
    with pytest.raises(error, match=words):
        make(EnvironmentSpec(**settings), 2, seed=0)


@pytest.mark.parametrize("numbers", [(0, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_impossible_numbers_of_environments_seeds_and_threads_are_refused(numbers):
    with pytest.raises(ConfigurationError, match="num_envs"):
        make(spec(), *numbers)


def test_procgen_comes_without_the_old_gym_its_warning_and_a_strangers_search_path():
    program = (
        "import sys; before = list(sys.path)\n"
        "from probe.datasets.environments import EnvironmentSpec, make\n"
        "make(EnvironmentSpec(id='procgen:coinrun'), 1, 0)\n"
        "assert 'gym' not in sys.modules and sys.path == before"
    )
    # Procgen leaves a file open, which it alone can mend.
    warnings = ["-W", "error", "-W", "ignore::ResourceWarning"]
    done = subprocess.run([sys.executable, *warnings, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("python", [(3, 12), (3, 13)])
def test_a_missing_procgen_says_what_to_install(monkeypatch, python):
    monkeypatch.setitem(sys.modules, "procgen", None)
    monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
    with pytest.raises(MissingExtraError, match=r"pip install 'plasticity-probe\[procgen\]'") as caught:
        make(spec(), 1, 0)
    assert ("no wheel for Python 3.13" in str(caught.value)) == (python == (3, 13))


def test_a_specification_survives_json():
    whole = spec(frame_stack=2, step_limit=5, shift=ShiftSpec(kind="permute-blocks", at=(3, 9)), task=1)
    assert EnvironmentSpec.model_validate(json.loads(json.dumps(whole.model_dump(mode="json")))) == whole


def test_names_have_a_line_each():
    names = environment_names()
    assert "procgen:coinrun" in names and "CartPole-v1" in names
    assert all(line and "\n" not in line for line in names.values())


def test_make_gives_our_vector_environment_for_both_kinds():
    for name in ("procgen:coinrun", "CartPole-v1"):
        assert isinstance(make(EnvironmentSpec(id=name), 1, 0), VectorEnvironment)
