"""Injection: whether a checkpoint would learn better with new head parameters at the same function."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import log
from typing import Annotated

import numpy as np
from torch import Tensor

from probe.arrays import NDArray
from probe.errors import ConfigurationError
from probe.fresh import random_network
from probe.injection import Cut, find_cut, inject
from probe.probes.base import Finding, Findings, Probe, Reading, Work, register, with_samples
from probe.probes.fitting import draw_targets, geometric_ratio, observations_of
from probe.probes.limits import Count, Limits
from probe.regression import Budget, Curve, Task, check_precision, fit_all, native_precision
from probe.statistics.paired import paired_t_interval, sign_flip_p
from probe.subject import Subject

ALPHA = 0.05
MINIMUM_DRAWS = 5
"""Below, no p value of the sign-flip test reaches 0.05."""
MAXIMUM_DRAWS = 20
CONTROL, INJECTED = "control", "injected"


def verdict(controls: Sequence[float], injected: Sequence[float], margin: float) -> int | None:
    """Returns 1 where plasticity is lost, 0 without evidence of it, None where there are too few draws to say.

    Lost: the sign-flip test on ln(control / injected) gives at most 0.05, and the lower end of that ratio's 95 %
    interval is above the margin. One without the other is no evidence: a single checkpoint's own head is one draw of
    parameters, and new ones can be better by a little in every pair.
    """
    if len(controls) < MINIMUM_DRAWS:
        return None
    ratio = geometric_ratio(controls, injected)
    if ratio is None:
        return None
    logs = np.array([log(first / second) for first, second in zip(controls, injected, strict=True)])
    return int(sign_flip_p(logs) <= ALPHA and ratio[1] > margin)


@register("injection", version=3)
@dataclass(frozen=True)
class Injection(Probe):
    """Whether the network fits new targets better once its head is injected: plasticity lost behind the cut.

    Question: do the checkpoint's own head parameters stand in the way of learning?
    Formula: from before the last hidden layer of every head on, `out = h(theta) [frozen] + h(theta1') [learns] -
        h(theta2') [frozen]`, with `theta1' = theta2'` newly drawn, so that the function is unchanged at the start. The
        network as it is (arm `control`) and the injected one (arm `injected`) fit the same random network's outputs
        with the same budget, order and new Adam, in several draws:
        - `initial_loss`, `quarter_loss`, `half_loss`, `final_loss` (target variance): mean squared error at the start,
          after 25 %, 50 % and 100 % of the steps
        - `loss_difference` (target variance): final loss of `control` less that of `injected`, a draw at a time, and as
          the mean (draw -1)
        - `loss_difference_low`, `loss_difference_high` (target variance): 95 % paired t interval of that mean
        - `loss_ratio` (ratio): final loss of `control` over that of `injected`, the geometric mean of the draws
        - `loss_ratio_low`, `loss_ratio_high` (ratio): 95 % interval of that mean, a paired t of the logarithms
        - `sign_flip_p` (p value): exact and one-sided, of `ln(control / injected)`
        - `verdict` (0 or 1; `margin`): 1, plasticity lost, where `sign_flip_p <= 0.05` and `loss_ratio_low > margin`;
          0, no evidence of loss at this budget; null, undecided
    Axes: losses are means over observations and all outputs; both arms train the same number of parameters.
    Units: targets have mean 0 and variance 1; a ratio above 1 says that injection helps. The end of the budget counts:
        on the way, outputs of large scale are still coming back to that of the targets.
    Cost: two arms x draws x steps of training a checkpoint; the injected arm runs the head three times.
    Status: verdict `low_sample` and null below 5 draws; `nonfinite` and null where training diverged; `degenerate` and
        null where a loss is zero; `not_applicable` without a hidden nonlinear layer, or where none can be drawn.
    Source: Nikishin et al. 2023, arXiv:2305.15555; the margin of 1.10 is a user's pre-registered band for `fitting`.
    Do not trust: 0 as a proof of health; targets are not the task's, and what is lost before the cut stays lost in both
        arms. A series holds no optimiser, so the control's moments are reset too: it is the moment-reset arm.
    """

    steps: Count = 300
    """Optimiser steps of each fit."""
    batch: Count = 256
    """Observations a step."""
    draws: Annotated[int, Limits(least=1, most=MAXIMUM_DRAWS)] = 5
    """Pairs of fits; at least 5 for a verdict, at most 20."""
    samples: Count = 2560
    """Observations to fit, spread over the set."""
    learning_rate: Annotated[float, Limits(above=0, most=1)] = 1e-3
    """Of Adam."""
    margin: Annotated[float, Limits(least=1)] = 1.10
    """Ratio of losses up to which a gain by injection is no loss of plasticity."""
    precision: str = field(default_factory=native_precision)
    """As of `fitting`."""
    needs = "network"
    cost = "costly"

    def __post_init__(self) -> None:
        """Refuses a precision that there is not."""
        super().__post_init__()
        check_precision("injection", self.precision)

    def measure(self, subject: Subject) -> Findings:
        """Returns the losses of both arms, their paired differences and the verdict."""
        observations = observations_of(subject, self.samples)
        try:
            cut = find_cut(subject.network(), observations[:1], activations=subject.activations)
        except ConfigurationError:
            return _not_applicable()
        if random_network(subject.checkpoint, 0) is None:
            return _not_applicable()
        keys = [(draw, arm) for draw in range(self.draws) for arm in (CONTROL, INJECTED)]
        curves: dict[str, list[Curve]] = {CONTROL: [], INJECTED: []}
        tasks = (task for draw in range(self.draws) for task in self._pair(subject, observations, cut, draw))
        for (_, arm), curve in zip(keys, fit_all(tasks), strict=True):
            curves[arm].append(curve)
        return Findings(with_samples([*_losses(curves), *self._comparison(curves)], len(observations)))

    def work(self, subject: Subject) -> Work:
        """Returns the steps, and the losses at four points of the budget."""
        known = min(self.samples, subject.count)
        return {
            f"step in {self.precision}": 2 * self.draws * self.steps * min(self.batch, known),
            "forward": (2 * 4 + 1) * self.draws * known,
        }

    def _pair(self, subject: Subject, observations: Tensor, cut: Cut, draw: int) -> Iterator[Task]:
        fresh = random_network(subject.checkpoint, subject.generator("injection/fresh", draw).initial_seed())
        targets = draw_targets(subject, observations, draw)
        if fresh is None or targets is None:
            return
        budget = Budget(self.steps, self.batch, self.learning_rate, self.precision)
        for network in (subject.network(), inject(subject.network(), cut, fresh).eval()):
            order = subject.generator("injection/order", draw)
            yield Task(network, observations, targets["random_network"], budget, order)

    def _comparison(self, curves: dict[str, list[Curve]]) -> Iterator[Finding]:
        losses = {arm: [curve.final for curve in several] for arm, several in curves.items()}
        if not all(curve.finite for several in curves.values() for curve in several):
            yield from (Finding(Reading(name, None, "nonfinite")) for name in ("loss_difference", "verdict"))
            return
        differences = np.array(losses[CONTROL]) - np.array(losses[INJECTED])
        yield from (
            Finding(Reading("loss_difference", float(each)), draw=draw) for draw, each in enumerate(differences)
        )
        yield from with_interval("loss_difference", (float(differences.mean()), *paired_t_interval(differences)))
        ratio = geometric_ratio(losses[CONTROL], losses[INJECTED])
        if ratio is None:
            yield from (Finding(Reading(name, None, "degenerate")) for name in ("loss_ratio", "sign_flip_p", "verdict"))
            return
        logs: NDArray[np.float64] = np.log(losses[CONTROL]) - np.log(losses[INJECTED])
        found = verdict(losses[CONTROL], losses[INJECTED], self.margin)
        yield from with_interval("loss_ratio", ratio)
        yield Finding(Reading("sign_flip_p", sign_flip_p(logs)))
        yield Finding(Reading("verdict", found, "low_sample" if found is None else "ok", self.margin))


def _losses(curves: dict[str, list[Curve]]) -> Iterator[Finding]:
    for arm, several in curves.items():
        for draw, curve in enumerate(several):
            for name, value in asdict(curve).items():
                reading = Reading(f"{name}_loss", *((value, "ok") if curve.finite else (None, "nonfinite")))
                yield Finding(reading, arm=arm, draw=draw)


def with_interval(metric: str, values: tuple[float, float, float]) -> Iterator[Finding]:
    """Yields a mean and its interval's ends (`_low`, `_high`), which are null and `low_sample` where they are NaN."""
    for suffix, value in zip(("", "_low", "_high"), values, strict=True):
        known = value == value
        yield Finding(Reading(metric + suffix, value if known else None, "ok" if known else "low_sample"))


def _not_applicable() -> Findings:
    return Findings([Finding(Reading("verdict", None, "not_applicable"))])
