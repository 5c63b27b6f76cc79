"""Gradients of the declared offline losses on a stored observation set.

Critic: the mean of (V(s) - G)^2, or of (Q(s, a) - G)^2 where it has a value for each action. Actor: the mean of
-log pi(a | s) z, z the return standardised over the rows used. G and a are the set's stored return and action; rows
without a return are left out.

One backward pass of their sum gives each parameter the gradient of whatever loss reaches it: that of one loss alone, as
in its head, or the joint one where both do, as in an encoder that actor and critic share. To tell these apart there
takes a backward pass a loss.
"""

from collections.abc import Collection, Iterable, Iterator
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
"""What to differentiate: the sum of the losses, in one backward pass, or each of them, in a backward pass a loss."""
OF_OUTPUTS = ("critic", "actor")
"""The losses, each named after the output that it reads."""


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


@dataclass(frozen=True)
class OfflineGradients:
    """The gradients that one choice of losses gives."""

    losses: str
    """`joint` or `each`."""
    by_loss: dict[str, LossGradient]
    """By loss, `critic` and `actor`, in full where each is told apart. Otherwise each parameter is in one of `joint`,
    which both losses reach, `critic` and `actor`, which one alone does. Empty without a loss."""

    def names(self, parameters: Iterable[str]) -> tuple[str, ...]:
        """Returns which losses have a number for a layer, or for several, with these parameters."""
        if self.losses == EACH:
            return OF_OUTPUTS
        asked = set(parameters)
        return tuple(name for name, each in self.by_loss.items() if asked & each.parameters.keys()) or (JOINT,)

    def wholes(self) -> Iterator[tuple[str, LossGradient | None]]:
        """Yields the losses of the whole network with their gradients: of the sum, or each in full."""
        if self.losses == EACH:
            yield from ((name, self.by_loss.get(name)) for name in OF_OUTPUTS)
        elif len(self.by_loss) <= 1:
            yield from self.by_loss.items() or [(JOINT, None)]
        else:
            parts = list(self.by_loss.values())
            yield JOINT, LossGradient({k: v for part in parts for k, v in part.parameters.items()}, parts[0].samples)


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

    def __init__(self, subject: Subject, network: nn.Module, choices: Collection[str]) -> None:
        """Reads the columns of a subject whose set has returns, for a network of its own."""
        self._choices = sorted(choices)
        self._trained = {name: each for name, each in network.named_parameters() if each.requires_grad}
        self._sums: dict[tuple[str, str], dict[str, Tensor]] = {}
        self._reached: dict[str, set[str]] = {}
        self._returns = torch.from_numpy(subject.column("returns").astype(np.float64))
        self.known = self._returns.isfinite()
        self._advantages = torch.zeros_like(self._returns)
        if bool(self.known.any()):
            self._advantages[self.known] = standardised(self._returns[self.known])
        self._actions = discrete(subject.column("actions"))
        self._span = None if self._actions is None else (int(self._actions.min()), int(self._actions.max()))

    def add(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        """Adds the gradients of some rows, all of which have a return; `outputs` is what the network returned."""
        losses = self._losses(by_name(outputs), rows)
        passes: list[tuple[str, str, Tensor]] = []
        if JOINT in self._choices and losses:
            self._follow(losses)
            passes.append((JOINT, JOINT, torch.stack(list(losses.values())).sum()))
        if EACH in self._choices:
            passes += [(EACH, name, loss) for name, loss in losses.items()]
        for index, (choice, name, loss) in enumerate(passes):
            keep = index + 1 < len(passes)
            gradients = torch.autograd.grad(loss, list(self._trained.values()), retain_graph=keep, allow_unused=True)
            sums = self._sums.setdefault((choice, name), {})
            for parameter, gradient in zip(self._trained, gradients, strict=True):
                if gradient is not None:
                    sums[parameter] = sums[parameter].add_(gradient) if parameter in sums else gradient.double()

    def means(self) -> dict[str, OfflineGradients]:
        """Returns the gradients of the mean losses, by choice."""
        count, found = int(self.known.sum()), {}
        for choice in self._choices:
            parts = {name: sums for (of, name), sums in self._sums.items() if of == choice}
            if choice == JOINT and parts:
                parts = self._parted(parts[JOINT])
            of_loss = {
                name: LossGradient({parameter: total / count for parameter, total in sums.items()}, count)
                for name, sums in parts.items()
            }
            found[choice] = OfflineGradients(choice, of_loss)
        return found

    def _follow(self, losses: dict[str, Tensor]) -> None:
        """Notes which parameters each loss depends on."""
        names = {id(each): name for name, each in self._trained.items()}
        for loss, value in losses.items():
            leaves = {id(each) for each in _leaves(value)}
            self._reached.setdefault(loss, set()).update(names[each] for each in leaves & names.keys())

    def _parted(self, sums: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Returns the summed gradients by the losses that make them up."""
        if len(self._reached) == 1:
            return {name: sums for name in self._reached}
        parts: dict[str, dict[str, Tensor]] = {}
        for parameter, total in sums.items():
            by = [loss for loss in self._reached if parameter in self._reached[loss]]
            parts.setdefault(by[0] if len(by) == 1 else JOINT, {})[parameter] = total
        return {name: parts[name] for name in (JOINT, *OF_OUTPUTS) if name in parts}

    def _losses(self, outputs: dict[str, Tensor], rows: Int[Tensor, "batch"]) -> dict[str, Tensor]:
        """Returns the sum of each loss over a batch."""
        losses: dict[str, Tensor] = {}
        actions = None if self._actions is None else self._actions[rows]
        learnt = {name: output for name, output in outputs.items() if output.requires_grad}
        # Whether actions are columns is told by the whole set, not by a batch: else a loss would leave rows out.
        if "critic" in learnt and (learnt["critic"].shape[1] == 1 or self._fits(learnt["critic"])):
            values = returned_values(learnt["critic"], actions)
            if values is not None:
                losses["critic"] = (values - self._returns[rows].float()).square().sum()
        if "actor" in learnt and actions is not None and self._fits(learnt["actor"]):
            chosen = log_probabilities(learnt["actor"], actions)
            losses["actor"] = -(chosen * self._advantages[rows].float()).sum()
        return losses

    def _fits(self, columns: Float[Tensor, "batch action"]) -> bool:
        return self._span is not None and 0 <= self._span[0] and self._span[1] < columns.shape[1]


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Yields the parameters that a loss's graph ends in."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(variable := getattr(node, "variable", None), Tensor):
            yield variable
        waiting += [each for each, _ in node.next_functions]
