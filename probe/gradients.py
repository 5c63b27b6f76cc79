"""Gradients of the declared offline losses on a stored observation set: one forward pass, one gradient a loss.

Critic: the mean of (V(s) - G)^2. Actor: the mean of -log pi(a | s) z, z the return standardised over the rows used. G
and a are the set's stored return and action; rows without a return are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probe.arrays import NDArray
from probe.outputs import named_outputs
from probe.policies import log_probabilities
from probe.subject import Subject
from probe.weights import WeightLayer, owner

LOSSES = ("critic", "actor")
"""Each is named after the output that it reads."""
_BATCH = 64


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


_CACHE: "WeakKeyDictionary[Subject, dict[str, LossGradient]]" = WeakKeyDictionary()


def offline_gradients(subject: Subject) -> dict[str, LossGradient]:
    """Returns the gradient of each loss that the network and the set allow; probes of one subject share the pass.

    No loss is there without returns, no critic loss without an output `critic`, no actor loss without `actor` logits
    for the stored actions. Where all returns are equal z is 0, and so is the actor's gradient.
    """
    if subject not in _CACHE:
        _CACHE[subject] = _pass(subject) if subject.has_returns else {}
    return _CACHE[subject]


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


def _pass(subject: Subject) -> dict[str, LossGradient]:
    network = subject.network().eval()
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    totals: dict[str, dict[str, Tensor]] = {}
    returns = torch.from_numpy(subject.column("returns").astype(np.float64))
    known = returns.isfinite()
    count = int(known.sum())
    for batch, targets, advantages, actions in _rows(subject, returns, known):
        losses = _losses(named_outputs(network, batch), targets, advantages, actions)
        for index, (name, loss) in enumerate(losses.items()):
            keep = index + 1 < len(losses)
            gradients = torch.autograd.grad(loss, list(trained.values()), retain_graph=keep, allow_unused=True)
            sums = totals.setdefault(name, {})
            for parameter, gradient in zip(trained, gradients, strict=True):
                if gradient is not None:
                    sums[parameter] = gradient.double() + sums.get(parameter, 0.0)
    return {
        name: LossGradient({parameter: total / count for parameter, total in sums.items()}, count)
        for name, sums in totals.items()
    }


Rows = tuple[Tensor, Tensor, Tensor, NDArray[np.generic]]


def _rows(subject: Subject, returns: Float[Tensor, "sample"], known: Bool[Tensor, "sample"]) -> Iterator[Rows]:
    """Yields observations, returns, standardised returns and actions of the rows that have a return."""
    actions = subject.column("actions")
    advantages = torch.zeros_like(returns)
    if bool(known.any()):
        advantages[known] = standardised(returns[known])
    start = 0
    for batch in subject.batches(_BATCH):
        rows = torch.arange(start, start + len(batch))
        start += len(batch)
        chosen = known[rows]
        if bool(chosen.any()):
            picked = rows[chosen]
            yield batch[chosen], returns[picked], advantages[picked], actions[picked.numpy()]


def _losses(
    outputs: dict[str, Tensor], returns: Tensor, advantages: Tensor, actions: NDArray[np.generic]
) -> dict[str, Tensor]:
    """Returns the sum of each loss over a batch."""
    losses: dict[str, Tensor] = {}
    if "critic" in outputs and outputs["critic"].requires_grad:
        losses["critic"] = (outputs["critic"].flatten() - returns.float()).square().sum()
    if "actor" in outputs and outputs["actor"].requires_grad and _fit(actions, outputs["actor"]):
        chosen = log_probabilities(outputs["actor"], torch.from_numpy(actions.astype(np.int64)))
        losses["actor"] = -(chosen * advantages.float()).sum()
    return losses


def _fit(actions: NDArray[np.generic], logits: Tensor) -> bool:
    whole = actions.ndim == 1 and np.issubdtype(actions.dtype, np.integer)
    return whole and logits.ndim == 2 and bool(actions.min() >= 0) and bool(actions.max() < logits.shape[1])
