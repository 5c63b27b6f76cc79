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

FEW = {"frames": 3, "num_levels": 20}
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


def test_a_restored_state_continues_exactly():
    first, second = stream(seed=1, shift=PIXELS), stream(seed=2, shift=PIXELS)
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
