"""Fitting: how well a checkpoint still learns, beside a new network, in the same few steps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from math import exp, inf, log, nan
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from probe.fresh import random_network
from probe.probes.base import Finding, Findings, Probe, Reading, Status, Work, register, with_samples
from probe.probes.limits import Count, Limits
from probe.regression import Budget, Curve, Task, check_precision, fit_all, native_precision, outputs_on, standardised
from probe.statistics.paired import paired_t_interval
from probe.subject import Subject

TARGETS = ("random_network", "label_shuffle")

Curves = dict[tuple[str, int], Curve]
"""By kind of target and draw."""
_FEW = 64
"""Observations whose outputs tell networks apart."""


def geometric_ratio(losses: Sequence[float], controls: Sequence[float]) -> tuple[float, float, float] | None:
    """Returns exp of the mean of ln(loss / control) over draws, and its 95 % paired t interval's ends.

    The interval is NaN for one draw; None where a loss is not positive and finite.
    """
    if not all(0 < each < inf for each in (*losses, *controls)):
        return None
    logs = np.array([log(loss / control) for loss, control in zip(losses, controls, strict=True)])
    low, high = paired_t_interval(logs)
    return exp(logs.mean()), exp(low), exp(high)


def observations_of(subject: Subject, samples: int) -> Tensor:
    """Returns up to `samples` observations as the network takes them, in one tensor."""
    return torch.cat(list(subject.batches(256, samples)))


def draw_targets(subject: Subject, observations: Tensor, draw: int) -> dict[str, Float[Tensor, "batch out"]] | None:
    """Returns each kind's targets, standardised; the same at every checkpoint. None where no network can be drawn."""
    network = random_network(subject.checkpoint, subject.generator("fitting/targets", draw).initial_seed())
    if network is None:
        return None
    targets = standardised(outputs_on(network, observations))
    order = torch.randperm(len(targets), generator=subject.generator("fitting/shuffle", draw))
    return dict(zip(TARGETS, (targets, targets[order]), strict=True))


@register("fitting", version=2)
@dataclass(frozen=True)
class Fitting(Probe):
    """How far the checkpoint gets in fitting new targets with a small budget, beside a fresh network.

    Question: can this network still learn something new? The other probes only correlate with that.
    Formula: two kinds of targets: `<target>` is `random_network`, a random network's outputs, or `label_shuffle`, the
        same given to other observations, so that they must be memorised. Arm `checkpoint` starts from the checkpoint,
        arm `fresh` from a fresh initialisation; Adam starts with zero moments. Draws share targets and the order of
        observations across checkpoints and arms; of several learning rates that with the lowest final loss counts.
        - `<target>_initial_loss`, `<target>_quarter_loss`, `<target>_half_loss`, `<target>_final_loss` (target
          variance): mean squared error on the observations at the start, after 25 %, 50 % and 100 % of the steps
        - `<target>_ratio` (ratio): final loss of `checkpoint` over that of `fresh`, a draw at a time, and as the
          geometric mean (draw -1)
        - `<target>_ratio_low`, `<target>_ratio_high` (ratio): 95 % interval of that mean, a paired t of the logarithms
    Axes: means over observations and all outputs (actor and critic side by side).
    Units: targets have mean 0 and variance 1, so that a constant gives 1.0; a ratio of 1 is as good as new, above 1
        worse.
    Cost: two kinds of targets x draws x steps of training a checkpoint; the fresh control once a series.
    Status: `nonfinite` and null where training diverged; `not_applicable` and null where no fresh network is known; the
        ratio `degenerate` and null where the fresh network did not get `least_gain` below what a constant gives, so
        that the budget taught nobody anything, and where a loss is zero; `low_sample` and null for the interval of one
        draw.
    Source: Lyle et al. 2022, arXiv:2204.09560, Definition 1 (targets); Moalla et al. 2024, arXiv:2405.00662. The bound
        of `least_gain` is this project's own.
    Do not trust: one draw; a ratio near 1 with both losses near 1; outputs of large scale, which start far off
        (`_initial_loss`) and spend the budget on coming back.
    """

    steps: Count = 300
    """Optimiser steps of each fit."""
    batch: Count = 256
    """Observations a step."""
    draws: Count = 3
    """Fits of each kind, each with targets, order and fresh network of its own."""
    samples: Count = 2560
    """Observations to fit, spread over the set."""
    learning_rates: Annotated[Sequence[float], Limits(above=0, most=1, fewest=1)] = (1e-3,)
    """Of Adam; each is tried."""
    least_gain: Annotated[float, Limits(least=0, below=1)] = 0.01
    """Share of a constant's loss that the fresh network must save for a ratio to mean anything."""
    precision: str = field(default_factory=native_precision)
    """Of the products in training steps on images: `float32`, or `bfloat16`, the default where the processor has it."""
    needs = "network"
    cost = "costly"

    def __post_init__(self) -> None:
        """Refuses a precision that there is not."""
        super().__post_init__()
        check_precision("fitting", self.precision)

    def measure(self, subject: Subject) -> Findings:
        """Returns losses of both arms, and their ratios."""
        observations = observations_of(subject, self.samples)
        targets = self._targets(subject, observations)
        if targets is None:
            return Findings([Finding(Reading(f"{kind}_ratio", None, "not_applicable")) for kind in TARGETS])
        curves = self._curves(subject, observations, targets, lambda draw: subject.network())
        fresh = subject.control(self)
        found = [*_losses(curves, "checkpoint"), *(fresh.readings if fresh is not None else ())]
        control = None if fresh is None else _curves_of(fresh)
        for kind in TARGETS:
            constants = [each[kind].double().square().mean().item() for each in targets]
            found += _ratios(kind, curves, control, [(1 - self.least_gain) * constant for constant in constants])
        return Findings(with_samples(found, len(observations)))

    def controls(self, subjects: Sequence[Subject]) -> Sequence[tuple[Probe, Subject]]:
        """Returns the fresh network's fits."""
        return [(self, subjects[-1])]

    def control_key(self, subject: Subject) -> str | None:
        """Names the fresh networks by parameters and outputs, which tell functions of the same parameters apart."""
        few = next(subject.batches(_FEW, _FEW))
        sha = sha256()
        for draw in range(self.draws):
            network = _fresh(subject, draw)
            if network is None:
                return None
            for tensor in (*network.state_dict().values(), outputs_on(network, few)):
                sha.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return sha.hexdigest()

    def measure_control(self, subject: Subject) -> Findings:
        """Returns the losses of fresh networks."""
        observations = observations_of(subject, self.samples)
        targets = self._targets(subject, observations)
        curves = self._curves(subject, observations, targets or [], lambda draw: _fresh(subject, draw))
        return Findings(list(_losses(curves, "fresh")))

    def work(self, subject: Subject) -> Work:
        """Returns the steps, and the losses at four points of the budget."""
        fits = len(TARGETS) * self.draws * len(self.learning_rates)
        known = min(self.samples, subject.count)
        return {
            f"step in {self.precision}": fits * self.steps * min(self.batch, known),
            "forward": (4 * fits + self.draws) * known,
        }

    def _targets(self, subject: Subject, observations: Tensor) -> list[dict[str, Tensor]] | None:
        drawn = [draw_targets(subject, observations, draw) for draw in range(self.draws)]
        known = [each for each in drawn if each is not None]
        return known if len(known) == len(drawn) else None

    def _curves(
        self,
        subject: Subject,
        observations: Tensor,
        targets: list[dict[str, Tensor]],
        network: Callable[[int], nn.Module | None],
    ) -> Curves:
        """Fits a network a kind of target, draw and learning rate; keeps the best learning rate's curve."""
        keys = [(kind, draw, rate) for draw in range(len(targets)) for kind in TARGETS for rate in self.learning_rates]
        tasks = (
            Task(
                copy,
                observations,
                targets[draw][kind],
                Budget(self.steps, self.batch, rate, self.precision),
                subject.generator("fitting/order", draw),
            )
            for kind, draw, rate in keys
            if (copy := network(draw)) is not None
        )
        best: Curves = {}
        for (kind, draw, _), curve in zip(keys, fit_all(tasks), strict=True):
            held = best.get((kind, draw))
            if held is None or _final(curve) < _final(held):
                best[kind, draw] = curve
        return best


def _final(curve: Curve) -> float:
    return curve.final if curve.finite else inf


def _fresh(subject: Subject, draw: int) -> nn.Module | None:
    return subject.checkpoint.fresh(subject.generator("fitting/fresh", draw).initial_seed())


def _curves_of(control: Findings) -> Curves:
    """Reads the curves back from their readings."""
    values = {
        (each.reading.metric, each.draw): nan if each.reading.value is None else each.reading.value
        for each in control.readings
    }
    keys = [(kind, draw) for draw in sorted({each.draw for each in control.readings}) for kind in TARGETS]
    points = [each.name for each in fields(Curve)]
    return {(kind, draw): Curve(*(values[f"{kind}_{name}_loss", draw] for name in points)) for kind, draw in keys}


def _losses(curves: Curves, arm: str) -> Iterator[Finding]:
    for (kind, draw), curve in curves.items():
        for name, value in asdict(curve).items():
            reading = Reading(f"{kind}_{name}_loss", *((value, "ok") if curve.finite else (None, "nonfinite")))
            yield Finding(reading, arm=arm, draw=draw)


def _ratios(kind: str, curves: Curves, control: Curves | None, bars: Sequence[float]) -> Iterator[Finding]:
    """Yields the ratios; the fresh network of each draw must get below that draw's bar."""
    names = (f"{kind}_ratio", f"{kind}_ratio_low", f"{kind}_ratio_high")
    if control is None:
        yield from (Finding(Reading(name, None, "not_applicable")) for name in names)
        return
    pairs = [(curves[kind, draw], control[kind, draw]) for draw in range(len(bars))]
    for draw, (pair, bar) in enumerate(zip(pairs, bars, strict=True)):
        own, status = _ratio([pair], [bar])
        yield Finding(Reading(names[0], own[0] if own else None, status), draw=draw)
    whole, status = _ratio(pairs, bars)
    for name, value in zip(names, whole or (None, None, None), strict=True):
        if value is not None and value != value:
            yield Finding(Reading(name, None, "low_sample"))
        else:
            yield Finding(Reading(name, value, status))


def _ratio(
    pairs: Sequence[tuple[Curve, Curve]], bars: Sequence[float]
) -> tuple[tuple[float, float, float] | None, Status]:
    """Returns ratio and interval of (checkpoint, fresh), and the status; None where no ratio would mean anything."""
    if not all(curve.finite and fresh.finite for curve, fresh in pairs):
        return None, "nonfinite"
    learned = all(fresh.final <= bar for (_, fresh), bar in zip(pairs, bars, strict=True))
    found = geometric_ratio([curve.final for curve, _ in pairs], [fresh.final for _, fresh in pairs])
    return (found, "ok") if learned and found is not None else (None, "degenerate")
