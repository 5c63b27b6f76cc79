"""Fitting a network to targets with a fixed budget: how far it gets, and how far on the way."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from threading import Event

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from probe.errors import ConfigurationError
from probe.outputs import named_outputs, stacked
from probe.threads import side_by_side

PRECISIONS = ("float32", "bfloat16")

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
    precision: str = "float32"
    """Of the products in the steps on images; parameters, sums, moments and the losses reported are float32."""


@dataclass(frozen=True)
class Task:
    """A network to fit, and to what."""

    network: nn.Module
    """Its outputs, side by side, are as many as the targets' columns."""
    observations: Tensor
    """As the network takes them."""
    targets: Float[Tensor, "batch out"]
    budget: Budget
    generator: torch.Generator
    """Draws the order of the observations, and nothing else."""
    counted: Bool[Tensor, "batch out"] | None = None
    """Which targets count; None: all. The others are no targets, and the losses are means over those that count."""

    def loss(self) -> float:
        """Returns the network's mean squared error on all observations."""
        return mean_squared_error(self.network, self.observations, self.targets, self.counted)


@dataclass(frozen=True)
class Curve:
    """Mean squared error on the whole set, averaged over the outputs, at points of the budget."""

    initial: float
    quarter: float
    half: float
    final: float

    @property
    def average(self) -> float:
        """Mean of the losses after 25, 50 and 100 % of the budget.

        It tells networks apart that learn fast and slowly, also where the budget is so long that both end near nothing.
        """
        return (self.quarter + self.half + self.final) / 3

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


def mean_squared_error(
    network: nn.Module,
    observations: Tensor,
    targets: Float[Tensor, "batch out"],
    counted: Bool[Tensor, "batch out"] | None = None,
) -> float:
    """Returns mean (output - target)^2 over observations and outputs, or over those that count."""
    squared = (outputs_on(network, observations).double() - targets).square()
    return (squared if counted is None else squared[counted]).mean().item()


def fit_all(tasks: Iterable[Task]) -> Iterator[Curve]:
    """Fits networks side by side, each on one thread, and yields their curves in order."""
    return side_by_side(fit, tasks)


def fit(task: Task, given_up: Event | None = None) -> Curve:
    """Trains a network's trainable parameters, in place, to give the targets on the observations.

    The mode is the network's own: in eval mode batch statistics stand still, so that the function that is fitted is the
    one that the checkpoint holds. Once `given_up` is set no step is made any more, and the curve is worth nothing.
    """
    network, budget = task.network, task.budget
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations
    parameters = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(parameters, budget.learning_rate)
    marks = {max(1, budget.steps // 4), max(1, budget.steps // 2)}
    losses = [task.loss()]
    for step, chosen in enumerate(_batches(len(task.observations), budget, task.generator), start=1):
        if given_up is not None and given_up.is_set():
            break
        counted = None if task.counted is None else task.counted[chosen]
        take_step(network, task.observations[chosen], task.targets[chosen], optimizer, budget.precision, counted)
        if step in marks and step < budget.steps:
            losses.append(task.loss())
    losses.append(task.loss())
    middle = losses[1:-1] or [losses[-1]]
    return Curve(losses[0], middle[0], middle[-1], losses[-1])


def take_step(
    network: nn.Module,
    observations: Tensor,
    targets: Tensor,
    optimizer: torch.optim.Optimizer,
    precision: str,
    counted: Bool[Tensor, "batch out"] | None = None,
) -> None:
    """Makes one step on the mean squared error of a batch, over the targets that count."""
    optimizer.zero_grad(set_to_none=True)
    for start in range(0, len(observations), _STEP_CHUNK):
        rows = slice(start, start + _STEP_CHUNK)
        with _multiplying(precision, observations[rows]):
            outputs = named_outputs(network, observations[rows])
        error = stacked(outputs) - targets[rows]
        if counted is None:
            loss = error.square().mean() * (len(error) / len(observations))
        else:
            loss = error[counted[rows]].square().sum() / counted.sum()
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _batches(samples: int, budget: Budget, generator: torch.Generator) -> Sequence[Tensor]:
    size = min(budget.batch, samples)
    passes = -(-budget.steps * size // samples)
    order = torch.cat([torch.randperm(samples, generator=generator) for _ in range(passes)])
    return list(torch.split(order, size))[: budget.steps]


def _multiplying(precision: str, observations: Tensor) -> AbstractContextManager[object]:
    fast = precision == "bfloat16" and observations.dim() == 4
    return torch.autocast("cpu", torch.bfloat16) if fast else nullcontext()


@cache
def native_precision() -> str:
    """Returns `bfloat16` where the processor multiplies such matrices by itself; elsewhere they would be slower."""
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in described or "amx_bf16" in described else "float32"


def check_precision(probe: str, precision: str) -> None:
    """Raises `ConfigurationError` where a probe is given an unknown precision."""
    if precision not in PRECISIONS:
        raise ConfigurationError(f"{probe}.precision is '{precision}'; {' or '.join(PRECISIONS)} is expected.")
