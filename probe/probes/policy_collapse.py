"""Policy collapse: whether what the policy does still depends on what it sees."""

from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probe.passes import Observer, observed
from probe.probes.base import Finding, Findings, Probe, Reading, Status, register
from probe.subject import Subject


class PolicyStatistics:
    """Additive sums over action distributions, float64.

    Attributes:
        samples: States seen.
        entropies: Sum of the distributions' entropies, in nats.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self.samples = 0
        self.entropies = 0.0
        # Sums are of differences to the first state's distribution: for a policy that never changes, of exact zeros.
        self._origin = self._total = self._square = torch.zeros(0, dtype=torch.float64)

    def update(self, logits: Float[Tensor, "batch action"]) -> None:
        """Adds a batch of states."""
        probabilities = logits.double().softmax(dim=-1)
        if not self.samples:
            self._origin = probabilities[0]
            self._total = self._square = torch.zeros_like(self._origin)
        moved = probabilities - self._origin
        self.samples += len(logits)
        self.entropies += torch.special.entr(probabilities).sum().item()
        self._total = self._total + moved.sum(0)
        self._square = self._square + moved.square().sum(0)

    @property
    def average(self) -> Float[Tensor, "action"]:
        """The action distribution, averaged over states."""
        return self._origin + self._total / self.samples

    @property
    def variance(self) -> Float[Tensor, "action"]:
        """Variance of each action's probability across states."""
        return (self._square / self.samples - (self._total / self.samples).square()).clamp(min=0.0)


class PolicyObserver(Observer):
    """Keeps the policy's statistics, which stay empty where the network gives no logits under `actor`."""

    reads_layers = False

    def __init__(self) -> None:
        """Starts empty."""
        self.statistics = PolicyStatistics()

    def see_outputs(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        """Adds a batch of logits."""
        logits = outputs.get("actor") if isinstance(outputs, dict) else None
        if logits is not None and logits.ndim == 2:
            self.statistics.update(logits)


@register("policy-collapse", version=1)
@dataclass(frozen=True)
class PolicyCollapse(Probe):
    """Variance of the action distribution across states, its entropy, and the effective number of actions.

    Question: does what the policy does still depend on what it sees, and how many actions does it use?
    Formula: `p_x(a)` is the softmax of the actor's logits at state x, H the entropy:
        - `action_variance` (squared probability): `sum_a Var_x p_x(a)`
        - `policy_entropy` (nats): `E_x H(p_x)`
        - `effective_actions` (actions): `exp(policy_entropy)`
        - `marginal_entropy` (nats): `H(E_x p_x)`, of the actions over all states
        - `action_information` (nats): `marginal_entropy - policy_entropy`, what an action tells about the state
    Axes: variance and means run over the observations.
    Units: `action_variance` in [0, 1 - 1/actions]; the effective number of actions in [1, actions].
    Cost: the forward pass that probes of a checkpoint share.
    Status: `ok`; null and `not_applicable` where the network gives no logits under `actor`; null and `nonfinite` on NaN
        or infinity.
    Source: Moalla et al. 2024, arXiv:2405.00662: a policy whose features died gives its bias alone, whose entropy may
        be high while nothing varies across states (variance exactly 0).
    Do not trust: entropy alone, which a collapsed policy can have in any amount; a low variance where one action is
        right everywhere in the set.
    """

    needs = "network"

    def observer(self, subject: Subject) -> Observer:
        """Gathers the sums over action distributions."""
        return PolicyObserver()

    def measure(self, subject: Subject) -> Findings:
        """Returns the policy's readings over all observations."""
        statistics = observed(subject, self, PolicyObserver).statistics
        if not statistics.samples:
            return _findings([None] * len(_METRICS), "not_applicable", 0)
        return _findings(policy_values(statistics), "ok", len(statistics.average))


def policy_values(statistics: PolicyStatistics) -> list[float | None]:
    """Returns the values in the order of the metrics."""
    mean_entropy = statistics.entropies / statistics.samples
    marginal = torch.special.entr(statistics.average).sum().item()
    # Rounding alone can make the difference negative.
    information = max(0.0, marginal - mean_entropy)
    return [statistics.variance.sum().item(), mean_entropy, exp(mean_entropy), marginal, information]


_METRICS = ("action_variance", "policy_entropy", "effective_actions", "marginal_entropy", "action_information")


def _findings(values: list[float | None], status: Status, actions: int) -> Findings:
    if any(value is not None and not abs(value) < float("inf") for value in values):
        values, status = [None] * len(values), "nonfinite"
    return Findings(
        [
            Finding(Reading(metric, value, status), module="actor", units=actions)
            for metric, value in zip(_METRICS, values, strict=True)
        ]
    )
