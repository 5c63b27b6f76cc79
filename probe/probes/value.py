"""Value: how far the critic's values lie from the returns that followed, and how much of these they explain."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probe.outputs import by_name, discrete, returned_values
from probe.passes import Observer, observed
from probe.probes.base import Finding, Findings, Probe, Reading, Status, register
from probe.subject import Subject

CRITIC = "critic"
"""What the names of value heads begin with."""
METRICS = ("value_bias", "value_error", "explained_variance", "value_correlation")

Values = Float[Tensor, "sample"]


def value_bias(values: Values, returns: Values) -> float:
    """Returns mean(V - G)."""
    return (values - returns).mean().item()


def value_error(values: Values, returns: Values) -> float:
    """Returns mean((V - G)^2)."""
    return (values - returns).square().mean().item()


def explained_variance(values: Values, returns: Values) -> float | None:
    """Returns 1 - Var(G - V) / Var(G); None where all returns are equal."""
    if bool((returns == returns[0]).all()):
        return None
    return 1 - ((returns - values).var(correction=0) / returns.var(correction=0)).item()


def value_correlation(values: Values, returns: Values) -> float | None:
    """Returns Pearson's correlation of V and G; None where one of them is constant."""
    if bool((returns == returns[0]).all()) or bool((values == values[0]).all()):
        return None
    return torch.corrcoef(torch.stack([values, returns]))[0, 1].item()


class ValueObserver(Observer):
    """Keeps the values of every head that gives one a state.

    Attributes:
        values: By head, of every observation that is used, and of the stored action where a head values actions.
    """

    reads_layers = False

    def __init__(self, count: int, actions: Tensor | None) -> None:
        """Starts empty, for a number of observations and their stored actions."""
        self.values: dict[str, Values] = {}
        self._count, self._actions = count, actions

    def see_outputs(self, outputs: Any, rows: Int[Tensor, "batch"]) -> None:
        """Adds a batch of values."""
        for name, output in by_name(outputs).items():
            if not name.startswith(CRITIC):
                continue
            values = returned_values(output, None if self._actions is None else self._actions[rows])
            if values is not None:
                own = self.values.setdefault(name, torch.zeros(self._count, dtype=torch.float64))
                own[rows] = values.double()


def predictions(subject: Subject) -> tuple[dict[str, Values], Values]:
    """Returns the values of every head that gives one a state, and the returns, of the observations that have one."""
    if not subject.has_returns:
        return {}, torch.zeros(0, dtype=torch.float64)
    returns = torch.from_numpy(subject.column("returns").astype(np.float64))
    known = returns.isfinite()
    values = observed(subject, Value(), ValueObserver).values if bool(known.any()) else {}
    return {name: each[known] for name, each in values.items()}, returns[known]


@register("value", version=1)
@dataclass(frozen=True)
class Value(Probe):
    """Bias and error of the critic's values against the stored returns, and the variance of these that they explain.

    Question: does the critic know what the states are worth?
    Formula: V is a head's value of an observation, or of the action stored with it, G the stored discounted return:
        - `value_bias` (return): `mean(V - G)`
        - `value_error` (squared return): `mean((V - G)^2)`
        - `explained_variance` (share): `1 - Var(G - V) / Var(G)`
        - `value_correlation` (correlation): Pearson's, of V and G
    Axes: means and variances run over the observations that have a return; `module` names the head: every output whose
        name begins with `critic` and that gives one value a state, or one for each action.
    Units: the return's; the explained variance is at most 1, 0 for a constant and below it for worse ones; the
        correlation lies in [-1, 1].
    Cost: the forward pass that probes of a checkpoint share.
    Status: null and `not_applicable` where the set has no returns or the network no such head; explained variance and
        correlation null and `degenerate` where all returns are equal, the correlation also where all values are; null
        and `nonfinite` on NaN or infinity.
    Source: the measures are the field's usual ones; explained variance as in OpenAI Baselines' logs.
    Do not trust: sets of another policy than the checkpoint's, whose returns the critic never had to know; bias, error
        and explained variance of networks that were trained on scaled rewards (the correlation does not see the scale);
        returns cut off by a time limit are left out.
    """

    needs = "network"

    def observer(self, subject: Subject) -> Observer | None:
        """Gathers the values, where there are returns to compare them with."""
        if not subject.has_returns:
            return None
        return ValueObserver(subject.count, discrete(subject.column("actions")))

    def measure(self, subject: Subject) -> Findings:
        """Returns the readings of every value head."""
        values, returns = predictions(subject)
        if not values:
            absent = [Finding(Reading(metric, None, "not_applicable"), module=CRITIC) for metric in METRICS]
            return Findings(absent)
        return Findings(
            [
                Finding(reading, module=name, units=1, samples=len(returns))
                for name, each in values.items()
                for reading in _readings(each, returns)
            ]
        )


def _readings(values: Values, returns: Values) -> Iterator[Reading]:
    if not bool(values.isfinite().all()):
        yield from (Reading(metric, None, "nonfinite") for metric in METRICS)
        return
    measures = (value_bias, value_error, explained_variance, value_correlation)
    for metric, measure in zip(METRICS, measures, strict=True):
        value = measure(values, returns)
        status: Status = "degenerate" if value is None else "ok"
        yield Reading(metric, value, status)
