"""Atari on its real ROMs: what is shown, what ends an episode, and that a saved game goes on exactly."""

import importlib.util

import numpy as np
import pytest

from probe.datasets.environments import EnvironmentSpec, environment_names, make
from probe.datasets.environments.atari_single import area_shares
from probe.datasets.environments.human_scores import SCORES, has_human_scores, human_normalised
from probe.datasets.settings import specification_of
from probe.errors import ConfigurationError, UnknownNameError
from tests.datasets.test_environments import assert_same_steps, play

if importlib.util.find_spec("ale_py") is None:
    pytest.skip("ale-py is not installed", allow_module_level=True)

SEQUENCE = {"kind": "game", "games": ["Breakout", "Pong"]}


def spec(game="Breakout", **settings):
    keywords = settings.pop("keywords", {})
    return EnvironmentSpec(**{"id": f"atari:{game}", "keywords": keywords, **settings})


def exact(game="Breakout", **settings):
    return spec(game, keywords={"exact_resume": True, **settings.pop("keywords", {})}, **settings)


def begun(specification, num_envs=2, seed=0, threads=0):
    environment = make(specification, num_envs, seed, threads)
    environment.reset()
    return environment


def test_the_papers_settings_are_the_defaults_and_are_written_out():
    written = spec("Phoenix").model_dump()
    assert (written["frame_stack"], written["action_repeat"], written["step_limit"]) == (4, 4, 27_000)
    assert written["keywords"] == {
        "sticky_actions": 0.0, "noop_max": 30, "fire_reset": True, "episodic_life": True, "reward_clip": 1.0,
        "full_action_space": False, "max_pool": True, "grey": True, "size": 84, "exact_resume": False,
    }  # fmt: skip
    assert specification_of("atari:Phoenix", None, ["sticky_actions=0.25"]).keywords["sticky_actions"] == 0.25
    assert spec("Phoenix", frame_stack=1, step_limit=None).model_dump()["step_limit"] is None


@pytest.mark.parametrize("game", ["Phoenix", "Pong", "Breakout"])
def test_single_emulators_show_what_ale_pys_vector_environment_shows(game):
    # Without random starts, which the two draw from different generators.
    still = {"noop_max": 0, "episodic_life": False}
    vector, single = begun(spec(game, keywords=still)), begun(exact(game, keywords=still))
    for one, other in zip(play(vector, 150, seed=0), play(single, 150, seed=0), strict=True):
        # Means over areas are rounded to whole grey levels, and where one ends in a half the two may differ.
        assert np.abs(one[0].astype(int) - other[0].astype(int)).max() <= 1
        for left, right in zip(one[1:4], other[1:4], strict=True):
            np.testing.assert_array_equal(left, right)


SITUATIONS = {
    "phoenix": exact("Phoenix", keywords={"sticky_actions": 0.25}),
    "breakout": exact("Breakout", step_limit=40),
    "every frame": exact("Seaquest", action_repeat=1, frame_stack=2, keywords={"episodic_life": False}),
    "colours": exact("MsPacman", frame_stack=1, keywords={"grey": False, "size": 42}),
    "the third game": exact("Phoenix", keywords={"full_action_space": True}, shift=SEQUENCE, task=2),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_a_restored_state_continues_exactly_in_a_fresh_environment_of_another_seed(situation):
    first = begun(situation, seed=1)
    play(first, 60, seed=5)
    second = make(situation.model_copy(update={"task": 0}), 2, seed=99)
    second.set_state(first.get_state())
    assert second.task == first.task
    np.testing.assert_array_equal(second.current_observations(), first.current_observations())
    assert_same_steps(play(first, 50, seed=6), play(second, 50, seed=6))


def test_saving_a_state_changes_nothing_and_is_repeatable():
    watched, left_alone = begun(exact()), begun(exact())
    assert watched.get_state() == watched.get_state()
    assert_same_steps(play(watched, 60, seed=0), play(left_alone, 60, seed=0))


def test_the_vector_environment_has_no_state_and_takes_none():
    assert begun(spec()).get_state() is None
    with pytest.raises(ConfigurationError, match="exact_resume"):
        make(spec(), 2, 0).set_state(begun(exact()).get_state())


def test_a_state_of_another_game_is_refused_and_named():
    with pytest.raises(ConfigurationError, match=r"Breakout.*Pong"):
        make(exact("Pong"), 2, 0).set_state(begun(exact("Breakout")).get_state())


@pytest.mark.parametrize("form", [spec, exact])
def test_the_seed_decides_everything_and_threads_nothing(form):
    first, same, other = (
        play(begun(form("Phoenix"), seed=seed, threads=threads), 60, seed=0)
        for seed, threads in ((4, 0), (4, 2), (5, 0))
    )
    assert_same_steps(first, same)
    assert any((one[0] != another[0]).any() for one, another in zip(first, other, strict=True))


@pytest.mark.parametrize("form", [spec, exact])
def test_a_lost_life_ends_an_episode_and_the_game_goes_on(form):
    whole = begun(form("Breakout", keywords={"episodic_life": False}))
    lives = begun(form("Breakout"))
    ends, games, shown = np.zeros(2, int), np.zeros(2, int), 0
    for one, other in zip(play(whole, 400, seed=0), play(lives, 400, seed=0), strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[4].get("_episode", np.zeros(2, bool)))
        assert (other[2] | ~one[2]).all() and not (one[3] | other[3]).any()
        ends, games = ends + other[2], games + one[2]
        for row in np.flatnonzero(other[2] & ~one[2]):
            shown += 1
            new = other[0][row, :, :, -1]
            np.testing.assert_array_equal(other[0][row], np.repeat(new[..., None], 4, axis=-1))
            np.testing.assert_array_equal(other[4]["final_obs"][row], one[0][row])
    assert (games >= 1).all() and shown >= 8
    assert (ends >= 5 * games).all(), "five lives are a game of Breakout"


@pytest.mark.parametrize("form", [spec, exact])
def test_scores_are_of_whole_games_and_never_clipped(form):
    clipped, raw = begun(form("MsPacman")), begun(form("MsPacman", keywords={"reward_clip": 0.0}))
    scores, found = np.zeros(2), []
    for one, other in zip(play(clipped, 550, seed=0), play(raw, 550, seed=0), strict=True):
        np.testing.assert_array_equal(one[1], np.clip(other[1], -1, 1))
        scores += other[1]
        if "episode" in one[4]:
            ended = one[4]["_episode"]
            np.testing.assert_array_equal(one[4]["episode"]["r"][ended], scores[ended])
            found += scores[ended].tolist()
            scores[ended] = 0
    assert found and min(found) > 60


@pytest.mark.parametrize("form", [spec, exact])
def test_a_time_limit_cuts_off_and_shows_what_would_have_come(form):
    limited = begun(form("Phoenix", step_limit=9))
    free = begun(form("Phoenix"))
    for time, (one, other) in enumerate(zip(play(limited, 9, seed=0), play(free, 9, seed=0), strict=True), start=1):
        assert one[3].all() == (time == 9) and not one[2].any()
        if time < 9:
            np.testing.assert_array_equal(one[0], other[0])
    assert one[4]["_final_obs"].all() and one[4]["episode"]["l"].tolist() == [9, 9]
    # ale-py shows a game that it cuts off without its last frame.
    np.testing.assert_array_equal(one[4]["final_obs"][..., :3], other[0][..., :3])
    assert (one[0] != one[4]["final_obs"]).any()


def test_the_frame_at_which_a_game_is_cut_off_is_shown():
    limited, free = begun(exact("Phoenix", step_limit=9)), begun(exact("Phoenix"))
    np.testing.assert_array_equal(play(limited, 9, 0)[-1][4]["final_obs"], play(free, 9, 0)[-1][0])


@pytest.mark.parametrize("form", [spec, exact])
def test_a_sequence_of_games_shares_the_eighteen_actions_and_comes_round(form):
    environment = begun(form("Phoenix", keywords={"full_action_space": True}, shift=SEQUENCE))
    assert environment.single_action_space.n == 18
    first = environment.current_observations()
    screens = [first]
    for task in (1, 2):
        assert environment.set_task(task)
        screens.append(environment.current_observations())
        play(environment, 3, seed=0)
    assert len({screen.tobytes() for screen in screens}) == 3
    assert environment.set_task(3)
    again = begun(form("Phoenix", keywords={"full_action_space": True}, shift=SEQUENCE, task=3))
    np.testing.assert_array_equal(environment.current_observations(), again.current_observations())
    assert not environment.set_task(6)


def test_only_the_actions_that_do_something_are_offered_else():
    assert [int(make(spec(game), 1, 0).single_action_space.n) for game in ("Phoenix", "Pong", "Breakout")] == [8, 6, 4]


def test_starts_differ_by_the_frames_that_nothing_is_done_in():
    environment = begun(exact("Phoenix"), num_envs=4)
    assert len({frame.tobytes() for frame in environment.current_observations()}) > 1
    still = begun(exact("Phoenix", keywords={"noop_max": 0}), num_envs=3)
    assert len({frame.tobytes() for frame in still.current_observations()}) == 1


def test_shares_of_areas_by_hand():
    np.testing.assert_allclose(area_shares(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(area_shares(5, 2), [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]], rtol=1e-6)
    for source in (160, 210):
        np.testing.assert_allclose(area_shares(source, 84).sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(area_shares(source, 84).sum(axis=0), 84 / source, rtol=1e-5)


def test_scores_on_the_scale_of_people():
    phoenix, sequence = spec("Phoenix"), spec("Tetris", shift=SEQUENCE)
    assert human_normalised(phoenix, 0, 761.4) == 0 and human_normalised(phoenix, 3, 7242.6) == 1
    assert human_normalised(spec("Skiing"), 0, -17098.1 - 12761.2) == pytest.approx(-1)
    assert human_normalised(sequence, 5, 14.6 - 35.3 / 2) == pytest.approx(0.5), "the third game is Pong"
    assert human_normalised(sequence, 3, 10.0) is None
    assert has_human_scores(phoenix) and has_human_scores(sequence)
    assert not has_human_scores(spec("Tetris")) and not has_human_scores(EnvironmentSpec(id="CartPole-v1"))
    assert len(SCORES) == 57 and {f"atari:{game}" for game in SCORES} <= set(environment_names())


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"id": "atari:Phenix"}, UnknownNameError, "Did you mean: Phoenix"),
        ({"id": "atri:Phoenix"}, UnknownNameError, "Did you mean: atari:Phoenix"),
        ({"id": "atari:Pong", "keywords": {"stiky_actions": 0.25}}, ConfigurationError, "Did you mean: sticky_actions"),
        ({"id": "atari:Pong", "keywords": {"sticky_actions": 2}}, ConfigurationError, "sticky_actions"),
        ({"id": "atari:Pong", "actions": 7}, ConfigurationError, "6 actions"),
        ({"id": "atari:Pong", "shift": SEQUENCE}, ConfigurationError, "full_action_space"),
        ({"id": "atari:Pong", "shift": {"kind": "levels"}}, ConfigurationError, "'levels' shift"),
        (
            {"id": "atari:Pong", "keywords": {"full_action_space": True}, "shift": {"kind": "game", "games": ["Pnog"]}},
            UnknownNameError,
            "Did you mean: Pong",
        ),
    ],
)
def test_bad_settings_are_named_with_what_was_expected(settings, error, words):
    with pytest.raises(error, match=words):
        make(EnvironmentSpec(**settings), 2, seed=0)
