"""What the user says about checkpoints that do not say it themselves."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from probe.arrays import NDArray
from probe.errors import ConfigurationError, FileError, UnknownNameError
from probe.files import reason

ImageLayout = Literal["hwc", "chw"]


@dataclass(frozen=True)
class Hints:
    """The options of `probe analyze` and `probe inspect` about foreign checkpoints; nothing is said by default."""

    model: str | None = None
    """`package.module:factory` or `file.py:Class`."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """What the factory is called with; without one, `activation` of a network that is inferred."""
    modules: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Globs on layer ids, by module; asked before a format's own."""
    series_by: str | None = None
    """Regular expression on paths: files with the same matched text are one series."""
    layout: ImageLayout | None = None
    """How images reach the network: channels last or first."""
    mean: NDArray[Any] | None = None
    """Of each feature, where the agent saw normalised vectors."""
    variance: NDArray[Any] | None = None
    trust_pickle: bool = False
    """Whether files that can run code may be loaded."""


def parse_hints(
    model: str | None = None,
    model_args: Sequence[str] = (),
    modules: Sequence[str] = (),
    series_by: str | None = None,
    layout: str | None = None,
    mean: Path | None = None,
    variance: Path | None = None,
    trust_pickle: bool = False,
) -> Hints:
    """Turns the options as people type them into hints.

    Raises:
        ConfigurationError: one is not of its form, or `mean` and `variance` do not come together.
        FileError: the statistics cannot be read.
    """
    if layout is not None and layout not in get_args(ImageLayout):
        raise UnknownNameError("image layout", layout, get_args(ImageLayout))
    if (mean is None) != (variance is None):
        raise ConfigurationError("--obs-mean and --obs-var belong together, and one of them is missing.")
    patterns: dict[str, list[str]] = {}
    for name, glob in (_pair("--module", text, "critic='value*'") for text in modules):
        patterns.setdefault(name, []).append(glob)
    return Hints(
        model=model,
        model_args={name: _value(text) for name, text in (_pair("--model-args", t, "hidden=64") for t in model_args)},
        modules=patterns,
        series_by=_checked(series_by),
        layout=layout,  # type: ignore[arg-type]  # one of the two, as checked above
        mean=None if mean is None else _statistics(mean, "obs_mean"),
        variance=None if variance is None else _statistics(variance, "obs_var"),
        trust_pickle=trust_pickle,
    )


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigurationError(f"{option} '{text}' is not of the form NAME=VALUE, as in {option} {example}.")
    return name, value


def _value(text: str) -> Any:
    """Returns the number, tuple, flag or other literal that a text is; else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _checked(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigurationError(f"--series-by '{pattern}' is no regular expression ({error}).") from error
    return pattern


def _statistics(path: Path, name: str) -> NDArray[Any]:
    """Reads a vector from an .npy, or from an .npz that holds one array or one of this name."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return np.asarray(loaded, np.float64)
        with loaded:
            held = list(loaded.files)
            if name not in held and len(held) != 1:
                raise FileError(f"{path}: holds {', '.join(held)}; one array, or one named {name}, is expected.")
            return np.asarray(loaded[name if name in held else held[0]], np.float64)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)}). Give an .npy or .npz file.") from error
    except (ValueError, EOFError) as error:
        raise FileError(f"{path}: no plain array of numbers ({error}). Write one with numpy.save.") from error
