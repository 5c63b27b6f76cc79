"""Which module (encoder, actor, critic) a layer belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

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
    """Patterns that a user gave, by module; they are asked before `patterns`."""

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
        for module, patterns in ((FROZEN, self.frozen), *self.chosen.items(), *self.patterns.items()):
            if any(fnmatchcase(layer, pattern) for pattern in patterns):
                return module
        return UNKNOWN
