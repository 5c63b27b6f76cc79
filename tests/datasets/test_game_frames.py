from itertools import combinations

import numpy as np
import pytest

from probe.datasets.collect import collect
from probe.datasets.environments import EnvironmentSpec, ShiftSpec, make
from probe.datasets.environments.procgen_library import GAMES
from probe.datasets.environments.rendered import pictures, reduced
from probe.datasets.environments.shift import permutation_of
from probe.datasets.sampling import Sampling
from probe.errors import ConfigurationError, UnknownNameError
from probe.observations import open_observations

FEW: dict[str, int | str] = {"frames": 3, "num_levels": 20}
DISTINCT: dict[str, int | str] = {"frames": 3, "num_levels": 200}
"""No two pictures are the same."""
REDRAWN = {**DISTINCT, "labels": "redrawn"}
PIXELS = ShiftSpec(kind="permute-blocks", grid=16, every=2)


def stream(seed=0, count=8, **settings):
    return make(EnvironmentSpec(**{"id": "frames:procgen", "keywords": FEW, **settings}), count, seed)


def test_a_pixel_is_the_mean_of_its_block_and_colours_by_hand():
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[0, :32, :32] = [30, 60, 90]
    frame[0, 32:, 32:, 0] = 200
    assert reduced(frame, 2)[0, :, :, 0].tolist() == [[60, 0], [0, 67]]


def test_pictures_are_the_games_own_frames():
    images, labels = pictures(3, 16, 0, 20, "easy")
    assert images.shape == (48, 16, 16, 1) and labels.tolist() == np.repeat(range(16), 3).tolist()
    maze = list(GAMES).index("maze")
    keywords = {"start_level": 0, "num_levels": 20, "distribution_mode": "easy"}
    first = make(EnvironmentSpec(id="procgen:maze", keywords=keywords), 3, seed=0).reset()[0]
    means = first.reshape(3, 16, 4, 16, 4, 3).astype(float).mean(axis=(2, 4, 5))
    np.testing.assert_allclose(images[labels == maze][..., 0], means, atol=0.51)


def test_right_guesses_are_rewarded_and_every_decision_ends():
    environment = stream()
    environment.reset()
    for guess in (environment.labels.copy(), (environment.labels + 1) % 16):
        right = guess == environment.labels
        _, rewards, terminated, truncated, infos = environment.step(guess)
        assert rewards.tolist() == right.astype(float).tolist()
        assert terminated.all() and not truncated.any()
        assert infos["episode"]["r"].tolist() == rewards.tolist() and set(infos["episode"]["l"]) == {1}


def test_labels_are_those_of_what_is_shown():
    environment = stream(count=40)
    images, labels = pictures(3, 16, 0, 20, "easy")
    shown = environment.reset()[0]
    for _ in range(3):
        for picture, label in zip(shown, environment.labels, strict=True):
            assert any((picture == known).all() for known in images[labels == label])
        shown = environment.step(np.zeros(40, int))[0]


def test_every_task_orders_the_same_pixels_anew():
    plain, shifted = stream(seed=3), stream(seed=3, shift=PIXELS)
    shifted.set_task(2)
    expected = permutation_of(PIXELS, 2, (16, 16, 1))(plain.reset()[0])
    observed = shifted.reset()[0]
    np.testing.assert_array_equal(observed, expected)
    assert (observed != plain.current_observations()).any()
    np.testing.assert_array_equal(
        np.sort(observed.reshape(8, -1)), np.sort(plain.current_observations().reshape(8, -1))
    )


def labels_by_picture(environment, draws=80):
    """Returns the label that each picture of the current task was shown with, and sees that it is always the same."""
    found = {}
    for _ in range(draws):
        for picture, label in zip(environment.current_observations(), environment.labels, strict=True):
            assert found.setdefault(picture.tobytes(), label) == label
        environment.step(np.zeros(environment.num_envs, int))
    return found


def test_redrawn_labels_are_a_permutation_of_the_games_and_follow_from_shift_seed_and_task_alone():
    tasks = {}
    for seed, task in ((0, 0), (0, 1), (0, 2), (1, 0)):
        shift = ShiftSpec(kind="permute-blocks", grid=1, every=2, seed=seed)
        environment = stream(seed=task, shift=shift, keywords=REDRAWN)
        environment.set_task(task)
        tasks[seed, task] = labels_by_picture(environment)
        again = stream(seed=5, shift=shift, keywords=REDRAWN, task=task)
        assert labels_by_picture(again) == tasks[seed, task]
    games = labels_by_picture(stream(keywords=DISTINCT))
    assert len(games) == 48
    for labels in tasks.values():
        assert labels.keys() == games.keys() and sorted(labels.values()) == sorted(games.values())
    for one, other in combinations([games, *tasks.values()], 2):
        assert sum(one[picture] == other[picture] for picture in games) < 12  # 3 of 48 by chance


def test_a_new_task_gives_what_is_shown_its_new_labels_at_once():
    environment = stream(count=40, shift=PIXELS, keywords=REDRAWN)
    environment.set_task(3)
    before = environment.labels.copy()
    environment.set_task(4)
    known = labels_by_picture(stream(shift=PIXELS, keywords=REDRAWN, task=4))
    shown = np.array([known[picture.tobytes()] for picture in environment.current_observations()])
    assert (shown != before).sum() > 20
    assert environment.step(shown)[1].tolist() == [1.0] * 40


def test_labels_are_redrawn_without_a_shift_too():
    assert labels_by_picture(stream(keywords=REDRAWN)) == labels_by_picture(stream(seed=1, keywords=REDRAWN))
    assert labels_by_picture(stream(keywords=REDRAWN)) != labels_by_picture(stream(keywords=DISTINCT))


@pytest.mark.parametrize("keywords", [FEW, REDRAWN])
def test_a_restored_state_continues_exactly(keywords):
    first, second = (stream(seed=seed, shift=PIXELS, keywords=keywords) for seed in (1, 2))
    first.set_task(4)
    first.step(np.zeros(8, int))
    second.set_state(first.get_state())
    assert second.task == 4
    for _ in range(5):
        np.testing.assert_array_equal(first.current_observations(), second.current_observations())
        np.testing.assert_array_equal(first.labels, second.labels)
        first.step(np.zeros(8, int))
        second.step(np.zeros(8, int))
    with pytest.raises(ConfigurationError, match="pictures at once"):
        stream(count=3).set_state(first.get_state())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keywords": {"side": 10}}, "expected a divisor of 64"),
        ({"keywords": {"frame": 10}}, "Did you mean: frames?"),
        ({"keywords": {"labels": "random"}}, "'games' or 'redrawn'"),
        ({"keywords": {"frames": 0}}, "greater than or equal to 1"),
        ({"action_repeat": 2, "step_limit": 5}, "action_repeat, step_limit has no meaning"),
        ({"shift": ShiftSpec(kind="levels")}, "is for Procgen's games"),
        ({"shift": ShiftSpec(kind="permute-actions+permute-blocks")}, "would make every label wrong"),
        ({"id": "frames:procgem"}, "Did you mean: frames:procgen?"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(settings, words):
    with pytest.raises((ConfigurationError, UnknownNameError)) as error:
        stream(**settings)
    assert words in str(error.value)


def test_a_set_is_collected_of_each_task(tmp_path):
    sampling = Sampling(20, stride=1, num_envs=4)
    written = []
    for task in (0, 5):
        specification = EnvironmentSpec(id="frames:procgen", keywords=FEW, shift=PIXELS, task=task)
        path = tmp_path / f"task{task}.h5"
        collect(specification, path, sampling)
        written.append(open_observations(path))
    assert [each.task for each in written] == [0, 5]
    first, later = (np.concatenate([batch.numpy() for batch in each.batches(64)]) for each in written)
    undone = permutation_of(PIXELS, 0, (16, 16, 1)).inverse()(first)
    np.testing.assert_array_equal(permutation_of(PIXELS, 5, (16, 16, 1))(undone), later)
