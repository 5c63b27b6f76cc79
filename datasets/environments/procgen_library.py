"""The optional `procgen` package: what it offers, and how it is imported without its side effects."""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from probe.errors import ConfigurationError, MissingExtraError, UnknownNameError

GAMES = {
    "bigfish": "eat smaller fish, avoid larger ones",
    "bossfight": "shoot a boss ship, dodge its fire",
    "caveflyer": "fly through caves to a friendly ship",
    "chaser": "collect orbs in a maze, chased by enemies",
    "climber": "climb platforms and collect stars",
    "coinrun": "run and jump to a coin at the far right",
    "dodgeball": "dodge and throw balls, then leave the room",
    "fruitbot": "steer between fruit and other food",
    "heist": "collect keys, open doors, steal a gem",
    "jumper": "jump through caves to a carrot, with a compass",
    "leaper": "cross lanes of cars and a river of logs",
    "maze": "find the cheese in a maze",
    "miner": "dig for diamonds under falling stones",
    "ninja": "jump and throw stars on the way to a mushroom",
    "plunder": "fire at enemy ships, spare friendly ones",
    "starpilot": "side-scrolling space shooter",
}
"""The 16 games with a line on each."""

_EVERY = frozenset(GAMES)
MODES = {
    "easy": _EVERY,
    "hard": _EVERY,
    "extreme": frozenset({"chaser", "dodgeball", "leaper", "starpilot"}),
    "memory": frozenset({"caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"}),
    "exploration": frozenset({"caveflyer", "climber", "coinrun", "heist", "jumper", "leaper", "maze", "ninja"}),
}
"""Distribution modes and the games that have them; the library ends the whole process on any other pair."""

KEYWORDS: dict[str, type] = {
    "num_levels": int,
    "start_level": int,
    "distribution_mode": str,
    "use_sequential_levels": bool,
    "center_agent": bool,
    "use_backgrounds": bool,
    "use_monochrome_assets": bool,
    "restrict_themes": bool,
    "use_generated_assets": bool,
    "paint_vel_info": bool,
}
"""Keywords of an environment and their types."""

_LEVEL_END = 2**31 - 1


def check_game(game: str) -> None:
    """Raises `UnknownNameError` where there is no such game."""
    if game not in GAMES:
        raise UnknownNameError("Procgen game", game, GAMES)


def check_keywords(game: str, keywords: Mapping[str, object]) -> None:
    """Checks the names, types and ranges of an environment's keywords.

    Raises:
        UnknownNameError: a keyword or a distribution mode is unknown.
        ConfigurationError: a value does not fit its keyword, or the game.
    """
    for name, value in keywords.items():
        if name not in KEYWORDS:
            raise UnknownNameError(f"keyword of procgen:{game}", name, KEYWORDS)
        if type(value) is not KEYWORDS[name]:
            expected = {int: "an integer", bool: "true or false", str: "a word"}[KEYWORDS[name]]
            raise ConfigurationError(f"procgen:{game}: keyword '{name}' is {value!r}, expected {expected}.")
        if isinstance(value, int) and not 0 <= value < _LEVEL_END:
            raise ConfigurationError(f"procgen:{game}: keyword '{name}' is {value}, expected 0 to {_LEVEL_END - 1}.")
    _check_mode(game, str(keywords.get("distribution_mode", "hard")), keywords)


def _check_mode(game: str, mode: str, keywords: Mapping[str, object]) -> None:
    if mode not in MODES:
        raise UnknownNameError("distribution mode", mode, MODES)
    if game not in MODES[mode]:
        having = ", ".join(sorted(MODES[mode]))
        raise ConfigurationError(f"procgen:{game} has no distribution mode '{mode}'. Games that have it: {having}.")
    chosen = {"num_levels", "start_level"} & set(keywords)
    if mode == "exploration" and chosen:
        raise ConfigurationError(
            f"procgen:{game}: distribution mode 'exploration' plays one level of its own; leave out {sorted(chosen)}."
        )


def load_environment_class() -> Callable[..., Any]:
    """Imports `procgen` and returns `ProcgenGym3Env`; neither the old gym nor its warning comes with it.

    Raises:
        MissingExtraError: `procgen` is not installed; the message says what to install.
    """
    # procgen/__init__ registers its games with the old gym, which nothing here needs and which prints a warning.
    stub = ModuleType("procgen.gym_registration")
    stub.register_environments = lambda: None  # type: ignore[attr-defined]
    sys.modules.setdefault("procgen.gym_registration", stub)
    search_path = list(sys.path)
    try:
        from procgen import ProcgenGym3Env
    except ImportError as error:
        raise MissingExtraError(_missing(error)) from error
    finally:
        # procgen-mirror's builder.py appends a folder of its developer's machine.
        sys.path[:] = [entry for entry in sys.path if entry in search_path]
    return ProcgenGym3Env  # type: ignore[no-any-return]


def _missing(error: ImportError) -> str:
    if sys.version_info >= (3, 13):
        return (
            f"Procgen environments need the package procgen ({error}), which has no wheel for Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Use Python 3.10, 3.11 or 3.12 and run: "
            "pip install 'plasticity-probe[procgen]'"
        )
    return f"Procgen environments need the package procgen ({error}). Run: pip install 'plasticity-probe[procgen]'"
