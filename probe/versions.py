"""The versions that results depend on."""

from importlib.metadata import version
from platform import python_version

_PACKAGES = ("plasticity-probe", "torch", "numpy", "h5py")


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that an analysis depends on."""
    return {"python": python_version(), **{name: version(name) for name in _PACKAGES}}
