"""Batch normalisation beside the nonlinearities."""

from typing import Literal

from probe.errors import ConfigurationError
from probe.models import FrozenModel
from probe.networks import NetworkSpec
from probe.networks.rewriting import normalise_activations
from probe.trainers.configuration import Configuration
from probe.trainers.mitigations.base import Mitigation, register
from probe.trainers.settings import PpoSettings


@register("batchnorm")
class BatchNormalisation(Mitigation):
    """Batch normalisation of every channel or feature, after the nonlinearities or before them.

    Learning uses the statistics of the rows that pass together (`ppo.micro_batch`), acting their running averages
    unless `acting.mode` says otherwise, so that the probability ratio differs from 1 before the first step already.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """

    class Settings(FrozenModel):
        """Where the normalisation stands."""

        place: Literal["before", "after"] = "after"
        """Before the nonlinearity as in the source, or after it as in common Pong agents."""

    settings: Settings

    def configure(self, configuration: Configuration) -> Configuration:
        """Leaves the settings as they are.

        Raises:
            ConfigurationError: rows would pass one by one, of which there are no statistics.
        """
        if configuration.learning.smallest_batch == 1:
            ppo = configuration.table(PpoSettings)  # no other algorithm divides its minibatches
            raise ConfigurationError(
                f"Method 'batchnorm' needs 2 or more rows at a time; 'ppo.micro_batch' of {ppo.micro_batch} leaves one "
                f"of a minibatch of {ppo.minibatch} alone. Give another 'ppo.micro_batch'."
            )
        return configuration

    def specify(self, spec: NetworkSpec) -> NetworkSpec:
        """Normalises what every nonlinearity reads or gives."""
        return normalise_activations(spec, "batch_norm", self.settings.place)
