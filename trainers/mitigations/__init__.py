"""The mitigations, one a file; `base` holds the contract and the registry."""

from probe.trainers.mitigations.base import Combination, Mitigation, make_mitigation, registry

__all__ = ["Combination", "Mitigation", "make_mitigation", "methods", "registry"]


def methods() -> dict[str, str]:
    """Returns the methods with a line on each."""
    return {name: mitigation.summary() for name, mitigation in registry().items()}
