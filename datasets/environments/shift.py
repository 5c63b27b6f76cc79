"""What a task does to images and actions: the same pixels and the same actions, in another order for every task."""

from collections.abc import Set
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Discrete
from jaxtyping import Int64, UInt8

from probe.arrays import NDArray
from probe.datasets.environments.specification import GAME_SHIFTS, EnvironmentSpec, ShiftSpec
from probe.errors import ConfigurationError

Images = UInt8[NDArray[np.uint8], "batch height width channel"]


class BlockPermutation:
    """A bijection on images of one height and width that moves whole square blocks.

    Source: the CoinRun shift of Juliani & Ash 2024, arXiv:2405.19153.
    """

    def __init__(self, order: Int64[NDArray[np.int64], "block"], height: int, width: int) -> None:
        """Prepares the bijection.

        Args:
            order: a permutation of the blocks, numbered row by row; block `order[i]` goes to place `i`.
            height: of the image, in pixels.
            width: of the image, in pixels.

        Raises:
            ConfigurationError: the grid does not divide the image.
        """
        grid = round(len(order) ** 0.5)
        if height % grid or width % grid:
            raise ConfigurationError(
                f"A {grid} x {grid} grid of blocks does not divide an image of {height} x {width} pixels. "
                "Choose a `shift.grid` that divides both sides."
            )
        self.order, self.height, self.width, self.grid = order, height, width, grid
        # A block's rows are the longest runs of pixels that stay together: (block row, pixel row, block column).
        runs = np.arange(height * grid).reshape(grid, height // grid, grid)
        blocks = runs.transpose(0, 2, 1).reshape(grid * grid, height // grid)
        self._runs = blocks[order].reshape(grid, grid, height // grid).transpose(0, 2, 1).reshape(-1)

    def __call__(self, images: Images) -> Images:
        """Returns a permuted copy."""
        run_bytes = self.width // self.grid * images.shape[-1]
        runs = np.ascontiguousarray(images).reshape(len(images), self.height * self.grid, run_bytes)
        permuted: NDArray[np.uint8] = np.take(runs, self._runs, axis=1)
        return permuted.reshape(images.shape)

    def inverse(self) -> "BlockPermutation":
        """Returns the bijection that undoes this one."""
        return BlockPermutation(np.argsort(self.order), self.height, self.width)


def permutation_of(shift: ShiftSpec | None, task: int, shape: tuple[int, ...]) -> BlockPermutation | None:
    """Returns what a task does to frames of `shape` (height, width, channel), or None where it leaves them as they are.

    Raises:
        ConfigurationError: observations are no images, or the grid does not divide them.
    """
    if shift is None or "permute-blocks" not in shift.kinds:
        return None
    if len(shape) != 3:
        raise ConfigurationError(
            f"A 'permute-blocks' shift needs images, the environment gives vectors of shape {shape}."
        )
    order = np.random.default_rng([shift.seed, task]).permutation(shift.grid**2)
    permutation = BlockPermutation(order, shape[0], shape[1])
    return permutation if task > 0 or shift.first else None


def action_order_of(shift: ShiftSpec | None, task: int, space: Space[Any]) -> Int64[NDArray[np.int64], "action"] | None:
    """Returns which action each offered number stands for in a task, or None where it stands for itself.

    Raises:
        ConfigurationError: the actions are not discrete.
    """
    if shift is None or "permute-actions" not in shift.kinds:
        return None
    if not isinstance(space, Discrete):
        raise ConfigurationError(f"A 'permute-actions' shift needs discrete actions, the environment has {space}.")
    order = space.start + np.random.default_rng([shift.seed, task, 1]).permutation(int(space.n))
    return order if task > 0 or shift.first else None


def refuse_game_shifts(specification: EnvironmentSpec, allowed: Set[str] = frozenset()) -> None:
    """Raises `ConfigurationError` where an environment is asked for other games or levels than those it has."""
    shift = specification.shift
    for kind in shift.kinds if shift is not None else ():
        if kind in GAME_SHIFTS - allowed:
            raise ConfigurationError(
                f"A '{kind}' shift is for Procgen's games, such as procgen:coinrun; {specification.id} is none."
            )
