"""The errors a user can cause. Each says what was given, what was expected and what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class ProbeError(Exception):
    """The user's input is at fault; the message is shown without a traceback and the exit code is 2."""

    exit_code = 2


class FileError(ProbeError):
    """A file or folder is missing, damaged, foreign, in the way, or cannot be written."""


class ConfigurationError(ProbeError):
    """A setting has an unknown name or a value that does not fit."""


class ShapeError(ProbeError):
    """Observations do not fit the network that they are given to."""


class MissingExtraError(ProbeError):
    """An optional package is needed; the message says what to install."""


class UnknownNameError(ProbeError):
    """A name stands in no registry; the message suggests the nearest one."""

    def __init__(self, noun: str, name: str, known: Iterable[str]) -> None:
        """Builds the message from what the name should be (`noun`), the name given and the names there are."""
        names = sorted(known)
        super().__init__(f"Unknown {noun} '{name}'. {suggestion(name, names)}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns 'Did you mean: x?' for a near miss, else the list of what there is."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean: {near[0]}?" if near else f"There are: {', '.join(names)}."
