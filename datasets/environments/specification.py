"""What an environment is, as plain data: written into run.toml, checkpoints and observation sets."""

from typing import Any, Literal

from pydantic import Field, model_validator

from probe.datasets.environments import atari_library
from probe.errors import ConfigurationError, UnknownNameError
from probe.models import FrozenModel

SHIFTS = {
    "permute-blocks": "the image is cut into grid x grid blocks, and every task orders them anew",
    "permute-actions": "every task gives the actions other numbers",
    "levels": "Procgen: every task plays the `num_levels` levels that follow those of the task before",
    "expand": "Procgen: every task plays `num_levels` levels more than the task before, the same start",
    "difficulty": "Procgen: tasks go through the environment's own distribution mode and `modes`, round and round",
    "game": "Procgen, Atari: tasks go through the environment's own game and `games`, round and round",
}
"""What a task can change, with a line on each. The last four start new episodes; the first two leave them going on."""
GAME_SHIFTS = frozenset(SHIFTS) - {"permute-blocks", "permute-actions"}
"""Those that play other games or levels."""


class ShiftSpec(FrozenModel):
    """A task shift: what differs between tasks, and when training changes to the next one."""

    kind: str
    """A key of `SHIFTS`, or several joined by `+`, such as `permute-blocks+levels`."""
    grid: int = Field(default=16, ge=1)
    """`permute-blocks`: blocks along each side; must divide the image's height and width."""
    modes: tuple[str, ...] = ("hard",)
    """`difficulty`: the distribution modes after the environment's own."""
    games: tuple[str, ...] = ()
    """`game`: the games after the environment's own, such as `maze`."""
    unit: Literal["updates", "steps"] = "updates"
    """What `at` and `every` count: the trainer's updates, or agent decisions summed over the environments."""
    at: tuple[int, ...] = ()
    """When training changes to the next task."""
    every: int | None = Field(default=None, ge=1)
    """Training changes to the next task after every so many; in place of `at`."""
    first: bool = True
    """Whether task 0 is permuted too."""
    seed: int = Field(default=0, ge=0)
    """The permutations follow from (seed, task) alone."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The single kinds that `kind` names."""
        return tuple(self.kind.split("+"))

    @property
    def scheduled(self) -> bool:
        """Whether training ever changes the task."""
        return bool(self.at) or self.every is not None

    def shifts_until(self, now: int) -> int:
        """Returns how many shifts have come when `now` units are done."""
        return now // self.every if self.every is not None else sum(moment <= now for moment in self.at)

    @model_validator(mode="after")
    def _fits(self) -> "ShiftSpec":
        for kind in self.kinds:
            if kind not in SHIFTS:
                raise UnknownNameError("task shift", kind, SHIFTS)
        if len(set(self.kinds)) < len(self.kinds) or {"levels", "expand"} <= set(self.kinds):
            raise ConfigurationError(
                f"'shift.kind' is '{self.kind}': name each kind once, and one of 'levels' and 'expand' at most."
            )
        if list(self.at) != sorted(set(self.at)) or any(moment < 1 for moment in self.at):
            raise ConfigurationError(f"'shift.at' is {list(self.at)}: expected rising numbers of 1 or more.")
        if self.at and self.every is not None:
            raise ConfigurationError(
                f"'shift.at' is {list(self.at)} and 'shift.every' is {self.every}: give one of them; at=[] takes the "
                "first away."
            )
        if ("game" in self.kinds) != bool(self.games):
            raise ConfigurationError(
                f"'shift.kind' is '{self.kind}' and 'shift.games' is {list(self.games)}: kind 'game' goes with the "
                'games to play after the environment\'s own, such as games=["maze"].'
            )
        return self


class EnvironmentSpec(FrozenModel):
    """One environment and everything that changes what the agent sees, does and receives."""

    id: str
    """`procgen:coinrun`, `atari:Phoenix`, or the id of any Gymnasium environment."""
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
    """How tasks differ."""
    task: int = Field(default=0, ge=0)
    """Index of the task to start with."""

    @model_validator(mode="before")
    @classmethod
    def _with_defaults_of_atari(cls, data: Any) -> Any:
        """Writes Atari's own defaults out, so that whatever keeps a specification keeps them."""
        if not isinstance(data, dict) or not str(data.get("id", "")).startswith(atari_library.PREFIX):
            return data
        keywords = {**atari_library.AtariSettings().model_dump(), **data.get("keywords", {})}
        return {**atari_library.FIELDS, **data, "keywords": keywords}
