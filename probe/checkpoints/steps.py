"""The step of a checkpoint, from what it holds or from its name."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

_CONTENT = (
    "num_timesteps",
    "total_timesteps_so_far",
    "timesteps",
    "timestep",
    "env_steps",
    "env_step",
    "agent_steps",
    "global_step",
    "total_steps",
    "steps",
    "step",
)
"""Keys of training checkpoints, those that count decisions first."""
_COUNTS = ("iteration", "iterations", "iter", "update", "updates", "epoch")
"""Keys that count something else; taken where no name says a step."""

_NUMBER = r"(\d[\d_]*(?:\.\d+)?)"
_SIZE = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_WORDS = r"(?:time|env_?|global_?|agent_?)?steps?|frames?"
_PATTERNS = (
    rf"(?:{_WORDS})[ _=.-]*{_NUMBER}([kmb]?)(?![a-z0-9])",
    rf"{_NUMBER}([kmb]?)[ _-]*(?:{_WORDS})(?![a-z])",
    rf"{_NUMBER}([kmb])(?![a-z0-9])",
    rf"(?:checkpoint|ckpt|iter(?:ation)?|update|epoch|model|itr|t)[ _=.-]*{_NUMBER}([kmb]?)(?![a-z0-9])",
    rf"(?<![a-z0-9.]){_NUMBER}()(?![a-z0-9])(?!.*\d)",
)
"""On lower-case names, the most telling first; the last takes a number that stands alone, the last of several."""


def step_of_content(held: Mapping[Any, Any]) -> int | None:
    """Returns the step that a training checkpoint says it was written at; None where it says none."""
    return _first_count(held, _CONTENT)


def count_of_content(held: Mapping[Any, Any]) -> int | None:
    """Returns the updates or epochs that a training checkpoint counts; None where it counts none."""
    return _first_count(held, _COUNTS)


def step_of_name(name: str) -> int | None:
    """Returns the step in a file's name without its suffix, as in `rl_model_500_steps`; None where there is none."""
    for place, pattern in enumerate(_PATTERNS):
        match = re.search(pattern, name.lower())
        if match:
            # step_1_000 and 1_000_000 are one number each; of run_3_500 the underscore parts two.
            thousands = 1 if place < 2 else 2
            whole = re.fullmatch(rf"\d{{1,3}}(_\d{{3}}){{{thousands},}}(\.\d+)?", match[1])
            digits = match[1] if whole else match[1].split("_")[-1]
            value = float(digits.replace("_", "") or "nan") * _SIZE[match[2]]
            if value == value // 1:
                return int(value)
    return None


def template(name: str) -> str:
    """Returns a name with every number replaced, which the checkpoints of one run share."""
    return re.sub(r"(\d{1,3}(_\d{3})+|\d+(\.\d+)?)([kmb](?![a-z]))?", "#", name.lower())


def _first_count(held: Mapping[Any, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = held.get(key)
        number = _plain(value)
        if isinstance(number, int | float) and not isinstance(number, bool) and number >= 0 and number == number // 1:
            return int(number)
    return None


def _plain(value: Any) -> Any:
    scalar = isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1)
    return value.item() if scalar else value
