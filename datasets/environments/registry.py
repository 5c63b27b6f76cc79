"""Which environments there are, and the one function that makes them."""

from probe.datasets.environments import atari_library, game_frames
from probe.datasets.environments.base import VectorEnvironment
from probe.datasets.environments.procgen_library import GAMES, KEYWORDS, check_game
from probe.datasets.environments.specification import EnvironmentSpec
from probe.errors import ConfigurationError

_PROCGEN = "procgen:"
_PLAIN = ("gymnasium.envs.classic_control", "gymnasium.envs.toy_text")
"""Gymnasium's environments that need no further package."""


def make(specification: EnvironmentSpec, num_envs: int, seed: int, threads: int = 0) -> VectorEnvironment:
    """Makes `num_envs` environments stepped together, with same-step autoreset.

    Args:
        specification: what to make.
        num_envs: how many; at least 1.
        seed: everything random in them follows from it.
        threads: Procgen's threads beside the caller's, and ale-py's; they change the speed and nothing else.

    Raises:
        UnknownNameError: the environment or a keyword is unknown; the message suggests the nearest one.
        ConfigurationError: a setting does not fit the environment.
        MissingExtraError: a package is not installed; the message says which.
    """
    if num_envs < 1 or seed < 0 or threads < 0:
        raise ConfigurationError(
            "Environments: expected `num_envs` of 1 or more, `seed` and `threads` of 0 or more, "
            f"got {num_envs}, {seed} and {threads}."
        )
    if specification.id == game_frames.NAME:
        return game_frames.GameFrames(specification, num_envs, seed)
    if specification.id.startswith(_PROCGEN):
        from probe.datasets.environments.procgen import ProcgenVectorEnvironment

        return ProcgenVectorEnvironment(specification, num_envs, seed, threads)
    if specification.id.startswith(atari_library.PREFIX):
        from probe.datasets.environments.atari import AtariVectorEnvironment

        return AtariVectorEnvironment(specification, num_envs, seed, threads)
    from probe.datasets.environments.gymnasium_ids import GymnasiumVectorEnvironment

    return GymnasiumVectorEnvironment(specification, num_envs, seed)


def keyword_names(name: str) -> list[str] | None:
    """Returns the keywords of an environment, or None where it takes any.

    Raises:
        UnknownNameError: there is no such environment.
    """
    if name == game_frames.NAME:
        return list(game_frames.FrameSettings.model_fields)
    if name.startswith(_PROCGEN):
        check_game(name.removeprefix(_PROCGEN))
        return list(KEYWORDS)
    if name.startswith(atari_library.PREFIX):
        atari_library.rom_of(name.removeprefix(atari_library.PREFIX))
        return list(atari_library.AtariSettings.model_fields)
    from probe.datasets.environments.gymnasium_ids import constructor_keywords

    return constructor_keywords(name)


def environment_names() -> dict[str, str]:
    """Returns ids with a line on each: Procgen's and Atari's games, and what Gymnasium has without further packages."""
    import gymnasium

    names = {f"{_PROCGEN}{game}": f"Procgen: {line}" for game, line in GAMES.items()}
    names[game_frames.NAME] = "which of Procgen's games is this frame from? 16 classes, for supervised streams"
    names |= {f"{atari_library.PREFIX}{game}": "Atari 2600, through ale-py" for game in atari_library.games()}
    for name, registered in sorted(gymnasium.registry.items()):
        entry = str(registered.entry_point)
        if entry.startswith(_PLAIN):
            names[name] = f"Gymnasium, {entry.split('.')[2].replace('_', ' ').partition(':')[0]}"
    return names
