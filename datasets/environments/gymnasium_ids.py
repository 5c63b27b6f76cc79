"""Any registered Gymnasium environment, stepped one after another in this process."""

import inspect
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from probe.datasets.environments.base import Array, Step, VectorEnvironment
from probe.datasets.environments.shift import refuse_game_shifts
from probe.datasets.environments.specification import EnvironmentSpec
from probe.datasets.environments.wrappers import wrappers_of
from probe.errors import ConfigurationError, MissingExtraError, UnknownNameError


class GymnasiumVectorEnvironment(VectorEnvironment):
    """Gymnasium's own synchronous vector environment, with our observation forms.

    uint8 images stay as they are (grey ones get a channel axis); vectors become float32; a discrete observation becomes
    a one-hot vector. `final_obs` is an array of all environments, valid where `_final_obs` says so. These environments
    cannot save their state: after a resume new episodes start.
    """

    def __init__(self, specification: EnvironmentSpec, num_envs: int, seed: int) -> None:
        """Makes the environments.

        Raises:
            UnknownNameError: the id or a keyword is unknown.
            ConfigurationError: a setting does not fit, or observations are neither images nor vectors.
            MissingExtraError: the environment needs a package that is not installed.
        """
        refuse_game_shifts(specification)
        self._envs = _make(specification, num_envs)
        self._source = self._envs.single_observation_space
        space = _frame_space(specification.id, self._source)
        super().__init__(specification, num_envs, space, self._envs.single_action_space)
        self._first_seed: int | None = seed

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new episodes everywhere; the first time from the seed that the environment was made with."""
        chosen = self._first_seed if seed is None else seed
        self._first_seed = None
        frames, _ = self._envs.reset(seed=chosen, options=options)  # type: ignore[arg-type]  # its children take lists
        self._restart_counters()
        return self.frames.push(self._converted(frames), np.ones(self.num_envs, np.bool_)), {}

    def step(self, actions: Array) -> Step:
        """Plays one decision in every environment."""
        frames, rewards, terminated, truncated, source_infos = self._envs.step(self._meant(actions))
        ended = terminated | truncated
        infos = self._count(rewards, ended)
        if ended.any():
            infos["final_obs"] = self._final(source_infos["final_obs"], ended)
            infos["_final_obs"] = ended.copy()
        observations = self.frames.push(self._converted(frames), ended)
        return observations, rewards.astype(np.float32), terminated.copy(), truncated.copy(), infos

    def _final(self, final: NDArray[Any], ended: NDArray[np.bool_]) -> Array:
        frames = np.zeros((self.num_envs, *self._source.shape), self._source.dtype)  # type: ignore[misc]
        frames[ended] = np.stack(list(final[ended]))
        return self.frames.final(self._converted(frames))

    def _converted(self, frames: Array) -> Array:
        if isinstance(self._source, Discrete):
            one_hot: Array = np.eye(int(self._source.n), dtype=np.float32)[frames - self._source.start]
            return one_hot
        if frames.dtype == np.uint8 and frames.ndim > 2:
            return frames if frames.ndim == 4 else frames[..., None]
        return frames.astype(np.float32)

    def get_state(self) -> None:
        """Returns None: Gymnasium environments cannot save their state."""
        return None

    def set_state(self, state: bytes) -> None:
        """Refuses: there are no states of these environments."""
        raise ConfigurationError(f"{self.specification.id} cannot restore a state; start new episodes with `reset`.")

    def close_extras(self, **_kwargs: Any) -> None:
        """Closes the environments."""
        self._envs.close()


def _make(specification: EnvironmentSpec, num_envs: int) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    name = specification.id
    _check_keywords(name, specification.keywords)
    try:
        return gymnasium.make_vec(
            name,
            num_envs=num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
            wrappers=wrappers_of(specification),
            **specification.keywords,
        )
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise MissingExtraError(f"Environment '{name}' needs a package that is not installed: {error}") from error
    except (gymnasium.error.Error, TypeError, ValueError, LookupError, AssertionError) as error:
        raise ConfigurationError(f"Environment '{name}' with {specification.keywords}: {error}") from error


def _registered(name: str) -> EnvSpec:
    module, _, registered = name.rpartition(":")
    try:
        if module:
            import_module(module)  # an id `module:Name-v0` is registered by importing the module
        return gymnasium.spec(registered)
    except gymnasium.error.Error as error:
        raise UnknownNameError("environment", name, known_ids()) from error
    except ModuleNotFoundError as error:
        if get_close_matches(module, ["procgen", "frames", "atari"]):
            raise UnknownNameError("environment", name, known_ids()) from error
        raise MissingExtraError(f"Environment '{name}': {error}. Install the package that has it.") from error


def known_ids() -> list[str]:
    """Returns the ids that can be asked for: the registered ones, the Procgen games and their frames, Atari's games."""
    from probe.datasets.environments.atari_library import PREFIX, games
    from probe.datasets.environments.game_frames import NAME
    from probe.datasets.environments.procgen_library import GAMES

    atari = (f"{PREFIX}{game}" for game in games())
    return [*(f"procgen:{game}" for game in GAMES), NAME, *atari, *gymnasium.registry]


def _check_keywords(name: str, keywords: dict[str, Any]) -> None:
    known = constructor_keywords(name)
    for keyword in keywords:
        if known is not None and keyword not in known:
            raise UnknownNameError(f"keyword of {name}", keyword, known)


def constructor_keywords(name: str) -> list[str] | None:
    """Returns the keywords that an environment's constructor names, or None where it takes any or cannot be looked at.

    Raises:
        UnknownNameError: there is no such environment.
        MissingExtraError: the module that the id names is not installed.
    """
    entry = _registered(name).entry_point
    if entry is None:
        return None
    try:
        creator = entry if callable(entry) else load_env_creator(entry)
    except ImportError:
        return None  # making the environment says which package is missing
    parameters = inspect.signature(creator).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return None if takes_any else list(parameters)


def _frame_space(name: str, space: gymnasium.Space[Any]) -> Box:
    if isinstance(space, Discrete):
        return Box(0, 1, (int(space.n),), np.float32)
    if isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3):
        shape = space.shape if len(space.shape) == 3 else (*space.shape, 1)
        return Box(space.low.reshape(shape), space.high.reshape(shape), shape, np.uint8)
    if isinstance(space, Box) and len(space.shape) == 1:
        return Box(space.low.astype(np.float32), space.high.astype(np.float32), space.shape, np.float32)
    raise ConfigurationError(
        f"Environment '{name}' gives observations of {space}; expected uint8 images or vectors. "
        "Register it with a wrapper (`additional_wrappers`) that makes them so."
    )
