"""Networks as data: a specification says what a network is, `build` makes the module."""

from probe.networks.network import Network, build
from probe.networks.presets import preset, preset_names
from probe.networks.specification import ActionSpace, ModuleSpec, NetworkSpec, Stage

__all__ = ["ActionSpace", "ModuleSpec", "Network", "NetworkSpec", "Stage", "build", "preset", "preset_names"]
