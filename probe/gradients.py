"""Gradients of the declared offline losses on a stored observation set.

Critic: the mean of (V(s) - G)^2, or of (Q(s, a) - G)^2 where it has a value for each action. Actor: the mean of
-log pi(a | s) z, z the return standardised over the rows used. Joint: their sum, or the one that there is; one backward
pass gives its gradient, in a head that of the head's own loss. G and a are the set's stored return and action; rows
without a return are left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from probe.errors import ConfigurationError
from probe.outputs import by_name, discrete, returned_values
from probe.policies import log_probabilities
from probe.subject import Subject
from probe.weights import WeightLayer, owner

JOINT, EACH = "joint", "each"
"""What to differentiate: the joint loss, in one backward pass, or each by itself too, in a backward pass a loss."""
_OF_OUTPUTS = ("critic", "actor")


def names_of(losses: str) -> tuple[str, ...]:
    """Returns the names of the losses, each but the joint one named after the output that it reads."""
    return (JOINT, *_OF_OUTPUTS) if losses == EACH else (JOINT,)


def check_losses(probe: str, losses: str) -> None:
    """Raises `ConfigurationError` where a probe is given an unknown choice of losses."""
    if losses not in (JOINT, EACH):
        raise ConfigurationError(f"{probe}.losses is '{losses}'; {JOINT} or {EACH} is expected.")


@dataclass(frozen=True)
class LossGradient:
    """The gradient of one loss, a mean over samples."""

    parameters: dict[str, Tensor]
    """Parameter name -> float64 gradient; only parameters that the loss depends on."""
    samples: int

    def of(self, layer: WeightLayer) -> Tensor | None:
        """Returns the gradient of a layer's stored weight; None where the loss does not depend on it."""
        return self.parameters.get(layer.parameter)

    def by_layer(self) -> dict[str, Tensor]:
        """Returns all gradients of each module with parameters of its own as one vector, by the module's path."""
        parts: dict[str, list[Tensor]] = {}
        for name, gradient in self.parameters.items():
            parts.setdefault(owner(name), []).append(gradient.flatten())
        return {path: torch.cat(gradients) for path, gradients in parts.items()}


def standardised(returns: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """Returns (G - mean) / standard deviation; all zero where the returns are equal."""
    centred = returns - returns.mean()
    deviation = centred.square().mean().sqrt()
    # Of equal returns the mean can be off by rounding.
    return centred / deviation if deviation > 1e-12 * returns.abs().max() else torch.zeros_like(returns)


def unit_norms(gradient: Float[Tensor, "..."], axis: int) -> Float[Tensor, "unit"]:
    """Returns the L2 norm of the gradient of each unit's incoming weights."""
    norms: Tensor = torch.linalg.vector_norm(gradient.movedim(axis, 0).flatten(1), dim=1)
    return norms


class GradientSums:
    """Sums of the losses' gradients, batch by batch, float64 over at most a batch's float32.

    No loss is there without an output `critic`, for the stored actions if for any, or `actor` logits for them. Where
    all returns are equal z is 0, and so is the actor's gradient.
    """

    def __init__(self, subject: Subject, network: nn.Module, losses: str) -> None:
        """Reads the columns of a subject whose set has returns, for a network of its own."""
        self._losses = losses
        self._trained = {name: each for name, each in network.named_parameters() if each.requires_grad}
        self._sums: dict[str, dict[str, Tensor]] = {}
        self._returns = torch.from_numpy(subject.column("returns").astype(np.float64))
        self.known = self._returns.isfinite()
        self._advantages = torch.zeros_like(self._returns)
        if bool(self.known.any()):
            self._advantages[self.known] = standardised(self._returns[self.known])
        self._actions = discrete(subject.column("actions"))
        self._span = None if self._actions is None else (int(self._actions.min()), int(self._actions.max()))

    def add(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        """Adds the gradients of some rows, all of which have a return; `outputs` is what the network returned."""
        losses = self._of_outputs(by_name(outputs), rows)
        if self._losses == JOINT and losses:
            losses = {JOINT: torch.stack(list(losses.values())).sum()}
        for index, (name, loss) in enumerate(losses.items()):
            keep = index + 1 < len(losses)
            gradients = torch.autograd.grad(loss, list(self._trained.values()), retain_graph=keep, allow_unused=True)
            sums = self._sums.setdefault(name, {})
            for parameter, gradient in zip(self._trained, gradients, strict=True):
                if gradient is not None:
                    sums[parameter] = sums[parameter].add_(gradient) if parameter in sums else gradient.double()

    def means(self) -> dict[str, LossGradient]:
        """Returns the gradient of each mean loss, the joint one first."""
        count = int(self.known.sum())
        separate = self._losses == EACH and bool(self._sums)
        sums = {JOINT: _added(self._sums.values()), **self._sums} if separate else self._sums
        return {
            name: LossGradient({parameter: total / count for parameter, total in of_loss.items()}, count)
            for name, of_loss in sums.items()
        }

    def _of_outputs(self, outputs: dict[str, Tensor], rows: Int[Tensor, "batch"]) -> dict[str, Tensor]:
        """Returns the sum of each loss over a batch."""
        losses: dict[str, Tensor] = {}
        actions = None if self._actions is None else self._actions[rows]
        learnt = {name: output for name, output in outputs.items() if output.requires_grad}
        if "critic" in learnt and (values := returned_values(learnt["critic"], actions)) is not None:
            losses["critic"] = (values - self._returns[rows].float()).square().sum()
        if "actor" in learnt and actions is not None and self._fits(learnt["actor"]):
            chosen = log_probabilities(learnt["actor"], actions)
            losses["actor"] = -(chosen * self._advantages[rows].float()).sum()
        return losses

    def _fits(self, logits: Tensor) -> bool:
        return self._span is not None and 0 <= self._span[0] and self._span[1] < logits.shape[1]


def _added(sums: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the sum over losses; each parameter that one of them depends on is there."""
    total: dict[str, Tensor] = {}
    for of_loss in sums:
        for parameter, gradient in of_loss.items():
            total[parameter] = total[parameter] + gradient if parameter in total else gradient
    return total
