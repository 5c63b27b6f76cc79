"""An agent's own preprocessing: its environment's settings, or what its network takes says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probe.checkpoints import Checkpoint
from probe.checkpoints.native import NativeCheckpoint
from probe.datasets.environments import atari_library, make
from probe.datasets.sampling import widest_layer
from probe.datasets.settings import specification_of
from probe.errors import ConfigurationError
from probe.layers import widest_hidden

_STACK = "frame_stack"
_COLOURS = 3
_PLACE = ("id", "keywords")


@dataclass(frozen=True)
class Taken:
    """What a collection takes from a checkpoint."""

    settings: dict[str, Any] | None = None
    """Of the environment, as `specification_of` takes them; None: the defaults."""
    widest: int = 0
    """Units of the widest hidden layer; 0 where it is not known."""
    notes: tuple[str, ...] = ()
    """What was assumed, as sentences."""


def taken_from(checkpoint: Checkpoint | None, acts: bool, name: str, changes: Sequence[str]) -> Taken:
    """Returns what a collection in an environment takes from the checkpoint that it is for, or that acts in it.

    Raises:
        ConfigurationError: the environment does not give what the checkpoint's network takes.
        FileError: the network is not known.
    """
    if checkpoint is None:
        return Taken()
    if isinstance(checkpoint, NativeCheckpoint):
        settings = checkpoint.metadata.environment
        task = {"task": checkpoint.metadata.task} if acts else {}
        return Taken({**settings, **task}, widest_layer(checkpoint.metadata.network))
    shape = checkpoint.observation_shape
    if shape is None:
        return Taken()
    settings = preprocessing_of(name, shape, changes, str(checkpoint.path))
    own = ", ".join(
        f"{key}={value}" for key, value in {**settings, **settings["keywords"]}.items() if key not in _PLACE
    )
    taken = (f"as the network takes observations, {own}",) if own else ()
    return Taken(settings, widest_hidden(checkpoint), (*taken, *checkpoint.notes(shape)))


def preprocessing_of(name: str, shape: tuple[int, ...], changes: Sequence[str], source: str) -> dict[str, Any]:
    """Returns settings with which an environment gives observations of a shape, as `specification_of` takes them.

    Args:
        name: The environment's id.
        shape: Of an observation that the network takes: (height, width, channel) or (feature,).
        changes: What the user asked for, which stays.
        source: Whose network it is; begins the message.

    Raises:
        ConfigurationError: it gives no such observations.
    """
    settings: dict[str, Any] = {"id": name, "keywords": _frames(shape) if name.startswith(atari_library.PREFIX) else {}}
    if any(word.startswith(f"{_STACK}=") for word in changes):
        return settings
    single = specification_of(name, {**settings, _STACK: 1}, changes)
    environment = make(single, num_envs=1, seed=0)
    frame = tuple(environment.single_observation_space.shape or ())
    environment.close()
    if frame[:-1] != shape[:-1] or shape[-1] % frame[-1]:
        hint = f"{atari_library.PREFIX}GAME has the usual frames of 84 x 84. " if len(shape) == 3 else ""
        raise ConfigurationError(
            f"{source}: its network takes observations of {shape}, and {name} gives {frame}, of which no frame stack "
            f"makes them. {hint}Collect from the environment that it was trained in, with --set for its settings."
        )
    return {**settings, _STACK: shape[-1] // frame[-1]}


def _frames(shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns the size and colours of Atari frames; channels in threes are colours."""
    if len(shape) != 3 or shape[0] != shape[1]:
        return {}
    return {"size": shape[0], "grey": shape[2] % _COLOURS != 0}
