"""The method without a mitigation."""

from probe.trainers.mitigations.base import Mitigation, register


@register("baseline")
class Baseline(Mitigation):
    """The agent as the preset says, with no mitigation."""
