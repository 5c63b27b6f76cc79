"""Which module (encoder, actor, critic) a layer belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

UNKNOWN = "other"
"""The module of a layer that no pattern takes."""


@dataclass(frozen=True)
class ModuleMap:
    """Glob patterns on layer ids, by module name; the first module with a match has the layer."""

    patterns: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, names: Sequence[str]) -> "ModuleMap":
        """Makes the map of a network whose top-level children are its modules."""
        return cls({name: (f"{name}.*", name, f"{name}:*") for name in names})

    @property
    def names(self) -> tuple[str, ...]:
        """The module names, in order."""
        return tuple(self.patterns)

    def module_of(self, layer: str) -> str:
        """Returns the module of a layer id, such as `encoder` for `encoder.relu1`."""
        for module, patterns in self.patterns.items():
            if any(fnmatchcase(layer, pattern) for pattern in patterns):
                return module
        return UNKNOWN
