"""A larger entropy bonus."""

from pydantic import Field

from probe.models import FrozenModel
from probe.trainers.configuration import Configuration
from probe.trainers.mitigations.base import Mitigation, register
from probe.trainers.settings import PpoSettings


@register("entropy")
class EntropyBonus(Mitigation):
    """A larger entropy bonus, in place of the preset's coefficient.

    Source: the public code of Juliani & Ash 2024, arXiv:2405.19153.
    """

    class Settings(FrozenModel):
        """How strong it is."""

        coefficient: float = Field(default=0.1, ge=0)
        """Factor on the policy's mean entropy in nats."""

    settings: Settings

    def configure(self, configuration: Configuration) -> Configuration:
        """Replaces the coefficient.

        Raises:
            ConfigurationError: the run's algorithm has no policy.
        """
        ppo = configuration.table(PpoSettings).model_copy(update={"entropy_coefficient": self.settings.coefficient})
        return configuration.model_copy(update={"ppo": ppo})
