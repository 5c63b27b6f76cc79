"""Fitting a network to targets with a fixed budget: how far it gets, and how far on the way."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probe.outputs import named_outputs, stacked

_CHUNK = 64
"""Observations a forward pass: activations of the usual networks stay in the cache."""
_STEP_CHUNK = 256
"""Observations a backward pass: larger batches are summed over chunks, so that memory stays bounded."""


@dataclass(frozen=True)
class Budget:
    """How long and how a network is fitted."""

    steps: int
    """Optimiser steps."""
    batch: int
    """Observations a step, drawn without replacement from one shuffled pass after another."""
    learning_rate: float
    """Of Adam, whose moments start at zero."""


@dataclass(frozen=True)
class Curve:
    """Mean squared error on the whole set, averaged over the outputs, at points of the budget."""

    initial: float
    quarter: float
    half: float
    final: float

    @property
    def finite(self) -> bool:
        """Whether no loss is NaN or infinite."""
        return all(isfinite(each) for each in (self.initial, self.quarter, self.half, self.final))


def standardised(targets: Float[Tensor, "batch out"]) -> Float[Tensor, "batch out"]:
    """Returns targets of mean 0 and variance 1 a column, so that a constant fits with loss 1; constants become 0."""
    wide = targets.double()
    centred = wide - wide.mean(0)
    deviation = centred.square().mean(0).sqrt()
    varies = deviation > 1e-6 * wide.abs().amax(0)  # a constant column's rounding is no variation
    return torch.where(varies, centred / torch.where(varies, deviation, 1.0), 0.0).float()


@torch.no_grad()
def outputs_on(network: nn.Module, observations: Tensor) -> Float[Tensor, "batch out"]:
    """Returns all outputs of a network side by side."""
    return torch.cat([stacked(named_outputs(network, each)) for each in torch.split(observations, _CHUNK)])


def mean_squared_error(network: nn.Module, observations: Tensor, targets: Float[Tensor, "batch out"]) -> float:
    """Returns mean (output - target)^2 over observations and outputs."""
    return (outputs_on(network, observations).double() - targets).square().mean().item()


def fit(
    network: nn.Module,
    observations: Tensor,
    targets: Float[Tensor, "batch out"],
    budget: Budget,
    generator: torch.Generator,
) -> Curve:
    """Trains the network's trainable parameters, in place, to give the targets on the observations.

    The mode is the network's own: in eval mode batch statistics stand still, so that the function that is fitted is the
    one that the checkpoint holds. Parameters, moments and the losses that are reported are float32; the steps on images
    multiply in bfloat16 where the processor does so itself, which halves their time.

    Args:
        network: Whose outputs, side by side, are as many as the targets' columns.
        observations: As the network takes them.
        targets: One row an observation.
        budget: Steps, batch and learning rate.
        generator: Draws the order of the observations, and nothing else.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # halves the time of convolutions
    parameters = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(parameters, budget.learning_rate)
    marks = {max(1, budget.steps // 4), max(1, budget.steps // 2)}
    losses = [mean_squared_error(network, observations, targets)]
    for step, chosen in enumerate(_batches(len(observations), budget, generator), start=1):
        _step(network, observations[chosen], targets[chosen], optimizer)
        if step in marks and step < budget.steps:
            losses.append(mean_squared_error(network, observations, targets))
    losses.append(mean_squared_error(network, observations, targets))
    middle = losses[1:-1] or [losses[-1]]
    return Curve(losses[0], middle[0], middle[-1], losses[-1])


def _step(network: nn.Module, observations: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    for part, wanted in zip(torch.split(observations, _STEP_CHUNK), torch.split(targets, _STEP_CHUNK), strict=True):
        with _precision(part):
            outputs = named_outputs(network, part)
        error = stacked(outputs) - wanted
        (error.square().mean() * (len(part) / len(observations))).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _batches(samples: int, budget: Budget, generator: torch.Generator) -> Sequence[Tensor]:
    size = min(budget.batch, samples)
    passes = -(-budget.steps * size // samples)
    order = torch.cat([torch.randperm(samples, generator=generator) for _ in range(passes)])
    return list(torch.split(order, size))[: budget.steps]


def _precision(observations: Tensor) -> AbstractContextManager[object]:
    fast = observations.dim() == 4 and _multiplies_bfloat16()
    return torch.autocast("cpu", torch.bfloat16) if fast else nullcontext()


@cache
def _multiplies_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices by itself; elsewhere they would be slower, not faster."""
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in described or "amx_bf16" in described
