"""The analysis that is there already: opened, and extended only by what belongs to it."""

from collections.abc import Sequence
from pathlib import Path

from probe.capture import Activations
from probe.checkpoints import Series
from probe.errors import ConfigurationError
from probe.results import Analysis, open_analysis

_PLACE = ("run", "method", "seed", "step")
"""What tells one checkpoint of a series from another in a table or figure."""


def existing(out: Path) -> Analysis | None:
    """Opens the analysis at `out`; None where there is nothing.

    Raises:
        FileError: something else is there.
    """
    return open_analysis(out) if out.exists() else None


def refuse_what_cannot_join(earlier: Analysis, series: Sequence[Series], declared: Activations) -> None:
    """Refuses what would stand beside other numbers under the same names; the file is closed then.

    Raises:
        ConfigurationError: the file was made with other declared nonlinearities; or it holds another checkpoint, or the
            same one as another network, at the same step of a series.
    """
    try:
        if earlier.activations != declared:
            used = " ".join(f"--activation {name}={function}" for name, function in earlier.activations.items())
            raise ConfigurationError(
                f"{earlier.path} was made {f'with {used}' if used else 'without --activation'}, and another "
                "declaration is another measurement. Give the same, or another --out."
            )
        known = {tuple(each[name] for name in _PLACE): each for each in earlier.checkpoints}
        for checkpoint in (each for one in series for each in one.checkpoints):
            there = known.get(tuple(checkpoint.description[name] for name in _PLACE))
            if there is not None and there["digest"] != checkpoint.digest:
                raise ConfigurationError(
                    f"{earlier.path} holds {there['path']} at step {checkpoint.step:,} of the same series, with other "
                    f"contents or as another network than {checkpoint.path} now. Give another --out."
                )
    except ConfigurationError:
        earlier.close()
        raise
