"""Settings of an `EnvironmentSpec` for single Gymnasium environments, applied before they are vectorised."""

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.spaces import Discrete
from gymnasium.wrappers import TimeLimit

from probe.datasets.environments.specification import EnvironmentSpec
from probe.errors import ConfigurationError

Env = gymnasium.Env[Any, Any]
Wrapper = gymnasium.Wrapper[Any, Any, Any, Any]
Wrap = Callable[[Env], Wrapper]


class RepeatAction(Wrapper):
    """Plays every decision for several frames and sums their rewards; stops where the episode ends."""

    def __init__(self, env: Env, times: int, reward_per_step: float) -> None:
        """Repeats `times` frames and adds `reward_per_step` once a decision."""
        super().__init__(env)
        self._times = times
        self._reward_per_step = reward_per_step

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Returns the last frame, the summed reward and the last frame's ends and infos."""
        total = self._reward_per_step
        for _ in range(self._times):
            frame, reward, terminated, truncated, infos = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return frame, total, terminated, truncated, infos


class FirstActions(Wrapper):
    """Offers only the first `count` of an environment's discrete actions."""

    def __init__(self, env: Env, count: int) -> None:
        """Narrows the action space.

        Raises:
            ConfigurationError: the actions are not discrete, or fewer than `count`.
        """
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Discrete) or count > space.n:
            raise ConfigurationError(f"`actions` is {count}, but the action space is {space}.")
        self.action_space = Discrete(count, start=int(space.start))


def wrappers_of(specification: EnvironmentSpec) -> list[Wrap]:
    """Returns the wrappers that a specification asks for, innermost first."""
    wrappers: list[Wrap] = []
    repeat, bonus = specification.action_repeat, specification.reward_per_step
    limit, actions = specification.step_limit, specification.actions
    if repeat > 1 or bonus:
        wrappers.append(lambda env: RepeatAction(env, repeat, bonus))
    if limit is not None:
        wrappers.append(lambda env: TimeLimit(env, limit))
    if actions is not None:
        wrappers.append(lambda env: FirstActions(env, actions))
    return wrappers
