"""Which module (encoder, actor, critic) a layer belongs to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from probe.errors import ConfigurationError, suggestion

UNKNOWN = "other"
"""The module of a layer that no pattern takes."""
ALL = "all"
"""The module name of an average over the whole network."""
FROZEN = "frozen"
"""The module of copies that no longer learn, which plasticity injection leaves; it enters no figure of a module."""


@dataclass(frozen=True)
class ModuleMap:
    """Glob patterns on layer ids, by module name; the first module with a match has the layer."""

    patterns: Mapping[str, Sequence[str]]
    frozen: Sequence[str] = ()
    """Patterns of what belongs to `FROZEN` before any other module is asked."""
    chosen: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Patterns that a user gave, by module; they are asked before `patterns`, and name whole modules too."""

    @classmethod
    def of(cls, names: Sequence[str], frozen: Sequence[str] = ()) -> "ModuleMap":
        """Makes the map of a network whose top-level children are its modules."""
        return cls({name: (f"{name}.*", name, f"{name}:*") for name in names}, frozen)

    @property
    def names(self) -> tuple[str, ...]:
        """The module names, in order."""
        return tuple(dict.fromkeys((*self.patterns, *self.chosen)))

    def with_chosen(self, chosen: Mapping[str, Sequence[str]]) -> "ModuleMap":
        """Returns the map with a user's patterns before its own."""
        return replace(self, chosen=chosen)

    def averages_of(self, layer: str) -> tuple[str, ...]:
        """Returns the averages that a layer enters, by module name: none of what is frozen."""
        module = self.module_of(layer)
        return () if module == FROZEN else (module, ALL)

    def module_of(self, layer: str) -> str:
        """Returns the module of a layer id, such as `encoder` for `encoder.relu1`."""
        if any(fnmatchcase(layer, pattern) for pattern in self.frozen):
            return FROZEN
        for module, patterns in self.chosen.items():
            if any(_means(pattern, layer) for pattern in patterns):
                return module
        return self.told(layer)

    def told(self, layer: str) -> str:
        """Returns the module of a layer of which nothing else is said."""
        for module, patterns in self.patterns.items():
            if any(fnmatchcase(layer, pattern) for pattern in patterns):
                return module
        return UNKNOWN


def check_chosen(chosen: Mapping[str, Sequence[str]], layers: Iterable[str], paths: Iterable[str]) -> None:
    """Refuses a user's patterns that mean nothing, which would be passed over in silence.

    Args:
        chosen: Patterns by module.
        layers: The ids of all hidden layers.
        paths: The paths of all submodules; one without a hidden layer can be chosen, too.

    Raises:
        ConfigurationError: a pattern matches none of them; lists the layers.
    """
    known = tuple(dict.fromkeys(layers))
    everything = (*known, *paths)
    for module, patterns in chosen.items():
        for pattern in patterns:
            if not any(_means(pattern, each) for each in everything):
                raise ConfigurationError(f"--module {module}={pattern} matches no layer. {suggestion(pattern, known)}")


def _means(pattern: str, layer: str) -> bool:
    """Whether a user's pattern names a layer, or a module that the layer stands in."""
    return any(fnmatchcase(layer, pattern + end) for end in ("", "[.:#]*"))
