"""What every trainer offers, whatever its algorithm, and what ends a training early."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probe.datasets.environments import EnvironmentSpec
from probe.errors import ProbeError
from probe.networks import Network
from probe.trainers.replay import Replay

Metrics = dict[str, float | None]
"""Values by `group/metric`; None where there is none."""


@dataclass(frozen=True)
class ValueTerms:
    """What a critic's values are of: discounted sums of rewards that were divided by a scale."""

    gamma: float
    scale: float


@dataclass(frozen=True)
class ValueTargets:
    """Observations, and what a critic is to learn of them now."""

    observations: Tensor
    """As stored."""
    actions: Int[Tensor, "batch"] | None
    """Whose values are meant, of a critic that has a value for each."""
    targets: Float[Tensor, "batch"]

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self.observations)


class NumericalFault(ProbeError):
    """Training met a NaN or an infinity; the message names the tensor."""


class ActivationCollapse(ProbeError):
    """A layer has collapsed in a run that was to stop then; the message says which, where and why."""


@runtime_checkable
class Trainer(Protocol):
    """An agent that learns update by update."""

    algorithm: str
    score: str
    """What says how well it does, `return` or `accuracy`: `<score>/train` is a column, `<score>/test` another's."""
    network: Network
    environment: EnvironmentSpec
    """What it learns on; `task` of it is the task that training started with."""
    step: int
    """Agent decisions so far, summed over the environments."""
    frames: int
    updates: int
    task: int
    """Index of the task that the last update was made on."""
    acting: dict[str, Any]
    """In which mode and precision, and by which policy, actions are chosen."""
    interventions: list[dict[str, Any]]
    """What was injected or reset, and when."""
    notes: list[str]
    """What the user should be told; whoever shows them empties the list."""

    @property
    def replay(self) -> Replay | None:
        """Decisions that are learnt from again and again: too large for a state, which says only where they end."""

    @property
    def copies(self) -> tuple[Network, ...]:
        """Networks that follow the learning one, such as a target network; they change their architecture with it."""

    def synchronise(self) -> None:
        """Gives the copies the learning network's parameters, where a jump must not leave them behind."""

    @property
    def value_terms(self) -> ValueTerms | None:
        """What the output `critic` has learnt to tell; None where there is no such output."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What `iterate` reports beside the mitigation's metrics and the gradient norms, as names of metrics.csv."""

    def iterate(self, gradient_norms: bool = False) -> Metrics:
        """Makes one update; with `gradient_norms`, the metrics have each module's.

        Raises:
            NumericalFault: what is learnt from, a loss, a gradient or a weight is not finite.
        """

    def observations(self, samples: int) -> Tensor:
        """Returns observations that the agent has just learnt from, at most `samples`, as they are stored."""

    @property
    def actions(self) -> Tensor | None:
        """The actions of the last update; None where they are not kept."""

    def get_state(self) -> dict[str, Any]:
        """Returns a copy of all that the next updates depend on: dicts and lists of tensors, bytes and plain values."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues exactly where `get_state` was called."""

    def close(self) -> None:
        """Ends the environments."""


def module_norms(network: Network, gradients: bool) -> dict[str, Tensor]:
    """Returns the L2 norm of each module's parameters, or of their gradients, by the module's name."""
    norms = {}
    for name in network.spec.modules:
        module = network.get_submodule(name)
        tensors = [p.grad if gradients else p.detach() for p in module.parameters()]
        norms[name] = torch.nn.utils.get_total_norm([tensor for tensor in tensors if tensor is not None])
    return norms


def mean_gradient_norms(norms: Sequence[dict[str, Tensor]]) -> Metrics:
    """Returns the mean of several `module_norms` of gradients, under the names of metrics.csv."""
    names = norms[0] if norms else ()
    return {
        f"network/gradient_norm/{name}": torch.stack([norm[name] for norm in norms]).mean().item() for name in names
    }
