"""Vector environments as data: a specification says which, `make` gives a Gymnasium `VectorEnv`."""

from probe.datasets.environments.base import VectorEnvironment
from probe.datasets.environments.registry import environment_names, make
from probe.datasets.environments.specification import EnvironmentSpec, ShiftSpec

__all__ = ["EnvironmentSpec", "ShiftSpec", "VectorEnvironment", "environment_names", "make"]
