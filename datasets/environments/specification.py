"""What an environment is, as plain data: written into run.toml, checkpoints and observation sets."""

from typing import Literal

from pydantic import Field

from probe.models import FrozenModel


class ShiftSpec(FrozenModel):
    """A task shift that changes what observations look like and nothing else."""

    kind: Literal["permute-blocks"]
    """`permute-blocks`: the image is cut into grid x grid blocks, and every task orders them anew."""
    grid: int = Field(default=16, ge=1)
    """Blocks along each side; must divide the image's height and width."""
    unit: Literal["updates", "steps"] = "updates"
    """What `at` counts: the trainer's updates, or agent decisions summed over the environments."""
    at: tuple[int, ...] = ()
    """When training changes to the next task."""
    first: bool = True
    """Whether task 0 is permuted too."""
    seed: int = Field(default=0, ge=0)
    """The permutations follow from (seed, task) alone."""


class EnvironmentSpec(FrozenModel):
    """One environment and everything that changes what the agent sees, does and receives."""

    id: str
    """`procgen:coinrun`, or the id of any Gymnasium environment."""
    keywords: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Arguments of the environment itself, such as Procgen's `num_levels`."""
    frame_stack: int = Field(default=1, ge=1)
    """Last frames shown at once, on the last axis, oldest first; an episode starts with copies of its first frame."""
    action_repeat: int = Field(default=1, ge=1)
    """Frames for which a decision is repeated; the repetition stops where the episode ends."""
    reward_per_step: float = 0.0
    """Added to the reward of every decision."""
    step_limit: int | None = Field(default=None, ge=1)
    """Decisions after which an episode ends. Procgen is only reset by playing: there the next decision does it."""
    actions: int | None = Field(default=None, ge=1)
    """Only the first so many actions are offered."""
    shift: ShiftSpec | None = None
    """How observations differ between tasks."""
    task: int = Field(default=0, ge=0)
    """Index of the task to start with."""
