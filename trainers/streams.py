"""Named random generators, so that a draw for one purpose never moves the draws of another."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

NAMES = ("init", "act", "batch", "environment", "evaluate", "augment", "mitigation")
"""Parameters, actions, minibatch order, environment seeds, test episodes, augmentation, a mitigation's own draws."""


def derived_seed(seed: int, *names: str | int) -> int:
    """Returns a seed in [0, 2^31) that follows from a run's seed and what it is for."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class Streams:
    """A generator for each name, seeded from (seed, name)."""

    def __init__(self, seed: int) -> None:
        """Seeds every generator."""
        self.seed = seed
        self._generators = {name: torch.Generator().manual_seed(derived_seed(seed, name)) for name in NAMES}

    def __getitem__(self, name: str) -> torch.Generator:
        """Returns the generator of that name."""
        return self._generators[name]

    def get_state(self) -> dict[str, Tensor]:
        """Returns every generator's state, by name."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues where `get_state` was called."""
        for name, generator in self._generators.items():
            generator.set_state(state[name])

    def draw_seed(self, name: str) -> int:
        """Draws a seed in [0, 2^31) from the generator of that name."""
        return int(torch.randint(2**31, (), generator=self[name]))
