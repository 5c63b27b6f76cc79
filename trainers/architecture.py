"""The network of a run: a shipped architecture with the changes that the settings name."""

from typing import Literal

from pydantic import Field

from probe.models import FrozenModel
from probe.networks import NetworkSpec, preset
from probe.networks.rewriting import normalise_activations, orthogonal_weights, replace_relu

_RELU, _LEAKY = "relu", "leaky_relu"


class NormalisationSettings(FrozenModel):
    """A normalisation beside the nonlinearities."""

    kind: Literal["batch_norm", "layer_norm", "rms_norm"]
    """Batch statistics are those of the rows that pass together while learning, and running averages while acting."""
    place: Literal["before", "after"] = "before"
    """Of the nonlinearity."""
    modules: tuple[Literal["encoder", "actor", "critic"], ...] = ("encoder", "actor", "critic")
    """Whose nonlinearities."""


class NetworkSettings(FrozenModel):
    """Which of the shipped architectures, and what is changed of it."""

    name: str
    hidden: int = Field(ge=1)
    """Width of the last hidden layer."""
    width: float = Field(default=1.0, gt=0)
    """Factor on every hidden width, the last one too: 2 for a network of twice the units."""
    activation: Literal["relu", "leaky_relu", "gelu", "mish", "silu", "tanh"] = "relu"
    """What stands where the architecture has ReLU."""
    slope: float = Field(default=0.01, gt=0, lt=1)
    """Of leaky ReLU below zero."""
    normalisation: NormalisationSettings | None = None
    gain: float | None = Field(default=None, gt=0)
    """Hidden layers start with orthogonal weights of this gain and biases of zero; else as the architecture has it."""
    actor_gain: float | None = Field(default=None, gt=0)
    """Likewise the actor's output."""
    critic_gain: float | None = Field(default=None, gt=0)
    """Likewise the critic's output."""


def specification(settings: NetworkSettings, shape: tuple[int, ...], actions: int, values: int) -> NetworkSpec:
    """Returns the network of the settings.

    Args:
        settings: the architecture and its changes.
        shape: of an observation.
        actions: how many there are.
        values: outputs of the critic.

    Raises:
        UnknownNameError: no such architecture.
        ConfigurationError: it does not take the observations, or has nothing that a setting could change.
    """
    spec = preset(settings.name, shape, actions, settings.hidden, settings.width, values)
    if settings.activation != _RELU:
        options = {"slope": settings.slope} if settings.activation == _LEAKY else {}
        spec = replace_relu(spec, settings.activation, options)
    if settings.normalisation is not None:
        beside = settings.normalisation
        spec = normalise_activations(spec, beside.kind, beside.place, beside.modules)
    gains = {"actor": settings.actor_gain, "critic": settings.critic_gain}
    return orthogonal_weights(spec, settings.gain, {module: gain for module, gain in gains.items() if gain is not None})
