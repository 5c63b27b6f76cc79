"""From what the user asked for to an `EnvironmentSpec`: a checkpoint's own settings, changed by `NAME=VALUE` words."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from probe.datasets.environments import EnvironmentSpec
from probe.datasets.environments.registry import keyword_names
from probe.errors import ConfigurationError, UnknownNameError
from probe.models import validated

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def specification_of(name: str, settings: Mapping[str, Any] | None, changes: Sequence[str]) -> EnvironmentSpec:
    """Returns the specification of environment `name`.

    Args:
        name: the environment's id.
        settings: a specification as plain data to start from, such as a checkpoint's; None for the defaults.
        changes: words `NAME=VALUE`. NAME is a field of `EnvironmentSpec` (`task`, `shift.grid`) or one of the
            environment's keywords (`num_levels`). VALUE is written as in TOML; a word needs no quotes, and `none`
            takes a setting away.

    Raises:
        UnknownNameError: a NAME is unknown; the nearest one is suggested.
        ConfigurationError: a word is no `NAME=VALUE`, a value does not fit, or `settings` are of another environment.
    """
    if settings is not None and settings["id"] != name:
        raise ConfigurationError(
            f"The checkpoints were made in {settings['id']}, but observations of {name} were asked for. "
            f"Collect from {settings['id']}."
        )
    data: dict[str, Any] = {**(settings or {}), "id": name}
    data["keywords"] = dict(data.get("keywords", {}))
    for word in changes:
        _change(data, word)
    return validated(EnvironmentSpec, data, f"Settings of {name}")


def _change(data: dict[str, Any], word: str) -> None:
    path, equals, text = word.partition("=")
    if not equals or not path:
        raise ConfigurationError(f"'{word}' is no setting. Write NAME=VALUE, such as --set num_levels=200.")
    first, *rest = path.split(".")
    fields = set(EnvironmentSpec.model_fields) - {"id", "keywords"}
    if first in fields and rest:
        data[first] = {**(data.get(first) or {}), ".".join(rest): _value(text)}
    elif first in fields:
        data[first] = _value(text)
    else:
        keyword = path.removeprefix("keywords.")
        known = keyword_names(data["id"])
        if known is not None and keyword not in known:
            raise UnknownNameError(f"setting of {data['id']}", path, fields | set(known))
        data["keywords"].pop(keyword, None)
        if (value := _value(text)) is not None:
            data["keywords"][keyword] = value


def _value(text: str) -> Any:
    """Returns a TOML value, or the text itself where it is none."""
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
