"""The optional `ale-py` package: its games and their settings, without importing it."""

from importlib.util import find_spec
from pathlib import Path

from pydantic import Field

from probe.errors import MissingExtraError, UnknownNameError
from probe.models import FrozenModel

PREFIX = "atari:"
FIELDS = {"frame_stack": 4, "action_repeat": 4, "step_limit": 27_000}
"""Other defaults of an `EnvironmentSpec` for Atari; the limit is 30 minutes of play, 108,000 frames."""


class AtariSettings(FrozenModel):
    """Keywords of the environment; the defaults are those of DQN, Mnih et al. 2015."""

    sticky_actions: float = Field(default=0.0, ge=0, lt=1)
    """Probability with which each frame plays the last action again; 0.25 in Machado et al. 2018, arXiv:1709.06009."""
    noop_max: int = Field(default=30, ge=0)
    """A game begins with a random number of frames without an action, below this one."""
    fire_reset: bool = True
    """Whether the first of these frames presses FIRE, in games that have it."""
    episodic_life: bool = True
    """Whether an episode ends with a lost life; the game goes on, and its score is that of all lives."""
    reward_clip: float = Field(default=1.0, ge=0)
    """Largest absolute reward of a decision; 0 leaves rewards as they are. Scores are never clipped."""
    full_action_space: bool = False
    """Whether all 18 actions are offered, or those that do something in the game."""
    max_pool: bool = True
    """Whether a frame is the maximum of the last two of a decision, since some games draw objects on every other."""
    grey: bool = True
    """Whether frames have one channel or three."""
    size: int = Field(default=84, ge=1)
    """Height and width of a frame; it is the mean over areas of the 210 x 160 screen."""
    exact_resume: bool = False
    """Whether games are played one after another by emulators whose state can be saved, or all at once by ale-py."""


def rom_of(game: str) -> str:
    """Returns the ROM of a game, such as `ms_pacman` of `MsPacman`.

    Raises:
        UnknownNameError: there is no such game.
        MissingExtraError: `ale-py` is not installed.
    """
    folder = _rom_folder()
    if folder is None:
        raise MissingExtraError(
            f"Environment '{PREFIX}{game}' needs the package ale-py. Run: pip install 'plasticity-probe[atari]'"
        )
    roms = _roms(folder)
    if game not in roms:
        raise UnknownNameError("Atari game", game, roms)
    return roms[game]


def games() -> list[str]:
    """Returns the names of all games, or none where `ale-py` is not installed."""
    folder = _rom_folder()
    return [] if folder is None else sorted(_roms(folder))


def _roms(folder: Path) -> dict[str, str]:
    return {"".join(word.capitalize() for word in path.stem.split("_")): path.stem for path in folder.glob("*.bin")}


def _rom_folder() -> Path | None:
    found = find_spec("ale_py")
    return None if found is None or found.origin is None else Path(found.origin).parent / "roms"
