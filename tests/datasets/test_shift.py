import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.datasets.environments import EnvironmentSpec, ShiftSpec, make
from probe.datasets.environments.shift import BlockPermutation, permutation_of
from probe.errors import ConfigurationError


def images(seed, count, height, width, channels):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def moved_block_by_block(pictures, order, grid):
    """The definition, one block after another."""
    result = np.empty_like(pictures)
    height, width = pictures.shape[1] // grid, pictures.shape[2] // grid
    for place, source in enumerate(order):
        to_y, to_x = place // grid * height, place % grid * width
        from_y, from_x = source // grid * height, source % grid * width
        block = pictures[:, from_y : from_y + height, from_x : from_x + width]
        result[:, to_y : to_y + height, to_x : to_x + width] = block
    return result


def test_two_by_two_blocks_by_hand():
    picture = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    moved = BlockPermutation(np.array([3, 0, 1, 2]), 2, 2)(picture)
    assert moved[0, :, :, 0].tolist() == [[3, 0], [1, 2]]


@settings(max_examples=40, deadline=None)
@given(
    grid=st.integers(1, 5),
    block=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_blocks_move_as_defined_and_the_inverse_restores(grid, block, channels, seed):
    height, width = grid * block[0], grid * block[1]
    pictures = images(seed, 2, height, width, channels)
    order = np.random.default_rng(seed).permutation(grid**2)
    permutation = BlockPermutation(order, height, width)
    moved = permutation(pictures)
    np.testing.assert_array_equal(moved, moved_block_by_block(pictures, order, grid))
    np.testing.assert_array_equal(permutation.inverse()(moved), pictures)


def test_a_grid_that_does_not_divide_the_image_is_refused():
    with pytest.raises(ConfigurationError, match="10 x 10"):
        make(EnvironmentSpec(id="procgen:coinrun", shift=ShiftSpec(kind="permute-blocks", grid=10)), 1, seed=0)


def test_tasks_differ_and_follow_from_the_seed_alone():
    orders = {}
    for seed in (0, 1):
        for task in (0, 1, 2):
            shift = ShiftSpec(kind="permute-blocks", seed=seed)
            orders[seed, task] = tuple(permutation_of(shift, task, (64, 64, 3)).order)
            assert orders[seed, task] == tuple(permutation_of(shift, task, (64, 64, 3)).order)
    assert len(set(orders.values())) == 6


def test_the_first_task_is_left_alone_only_where_asked():
    assert permutation_of(None, 3, (64, 64, 3)) is None
    unshifted = ShiftSpec(kind="permute-blocks", first=False)
    assert permutation_of(unshifted, 0, (64, 64, 3)) is None
    assert permutation_of(unshifted, 1, (64, 64, 3)) is not None
    assert permutation_of(ShiftSpec(kind="permute-blocks"), 0, (64, 64, 3)) is not None


def test_an_environment_shows_the_permuted_frames_of_the_unshifted_one():
    shift = ShiftSpec(kind="permute-blocks", grid=16, seed=3)
    plain = make(EnvironmentSpec(id="procgen:maze", frame_stack=2), 2, seed=0)
    shifted = make(EnvironmentSpec(id="procgen:maze", frame_stack=2, shift=shift), 2, seed=0)
    plain.reset()
    shifted.reset()
    rng = np.random.default_rng(0)
    for step in range(6):
        if step == 3:
            shifted.set_task(5)
            expected = permutation_of(shift, 5, (64, 64, 3))(plain.current_observations())
            np.testing.assert_array_equal(shifted.current_observations(), expected)
        actions = rng.integers(15, size=2)
        expected = permutation_of(shift, 5 if step >= 3 else 0, (64, 64, 3))(plain.step(actions)[0])
        np.testing.assert_array_equal(shifted.step(actions)[0], expected)


def test_the_task_of_the_specification_is_where_it_starts():
    shift = ShiftSpec(kind="permute-blocks")
    later = make(EnvironmentSpec(id="procgen:maze", shift=shift, task=4), 1, seed=0)
    moved = make(EnvironmentSpec(id="procgen:maze", shift=shift), 1, seed=0)
    moved.set_task(4)
    assert later.task == moved.task == 4
    np.testing.assert_array_equal(later.current_observations(), moved.current_observations())
