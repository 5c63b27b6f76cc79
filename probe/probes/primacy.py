"""Primacy: whether a checkpoint learns from observations of late tasks as well as from those of early ones."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from jaxtyping import Float

from probe.arrays import NDArray
from probe.probes.base import Finding, Findings, Probe, Reading, Status, Work, register
from probe.probes.fitting import TARGETS, Fitting
from probe.probes.injection import with_interval
from probe.probes.limits import Count, Limits
from probe.probes.value import CRITIC, predictions, value_error
from probe.regression import check_precision, native_precision
from probe.statistics.paired import paired_t_interval
from probe.subject import Subject

Draws = Float[NDArray[np.float64], "draw"]


def late_less_early(by_task: Mapping[int, Sequence[Draws]]) -> Draws:
    """Returns, a draw, the mean over the last half of the tasks less the mean over the first half.

    Of an odd number of tasks the middle one is in neither half. Sets of one task are averaged first.

    Args:
        by_task: Values of each set, a draw each, by task index; at least two tasks.
    """
    means = np.stack([np.mean(by_task[task], axis=0) for task in sorted(by_task)])
    half = len(means) // 2
    difference: Draws = means[-half:].mean(0) - means[:half].mean(0)
    return difference


@register("primacy", version=2)
@dataclass(frozen=True)
class Primacy(Probe):
    """How much better the checkpoint fits observations of early tasks than of late ones, beside a fresh network.

    Question: did what the network learned first spoil it for what came later?
    Formula: the sets are those of `--data`, by their task index. On each set alone the checkpoint and a fresh network
        fit the same new targets, as in `fitting`, whose kinds of targets and ratios these are; all sets share the
        random networks, the orders and the number of observations of a draw. Early are the first half of the tasks,
        late the last half; of an odd number the middle one is neither.
        - `<target>_ratio` (ratio): final loss of the checkpoint over that of the fresh network on one set, the
          geometric mean over draws; in the row `data` names the set
        - `<target>_ratio_low`, `<target>_ratio_high` (ratio): its 95 % interval, a paired t of the logarithms
        - `<target>_primacy` (nats): mean `ln <target>_ratio` of the late tasks less that of the early ones, a draw at a
          time, and as the mean (draw -1)
        - `<target>_primacy_low`, `<target>_primacy_high` (nats): 95 % paired t interval of that mean
        - `value_error` (squared return): `mean((V - G)^2)` on one set, V a value head, G the stored return
        - `value_error_gap` (squared return): mean error of the late tasks less that of the early ones
    Axes: means over observations and all outputs; `module` of the value errors is the head. In the rows of comparisons
        `data` is the last set.
    Units: 0 nats: early and late observations are learnt from equally well, each measured by a fresh network, so that a
        task's difficulty cancels. 0.69: late ones leave twice the loss. Below zero: late ones are learnt from better.
    Cost: that of `fitting`, once a set; nothing on sets where `fitting` is asked for with the same parameters.
    Status: `not_applicable` and null with one set or sets of one task index, and where no fresh network is known;
        `nonfinite` and null where training diverged; `degenerate` and null where a loss is zero or the fresh network
        learned nothing on a set; `low_sample` and null for the interval of one draw. Value errors `not_applicable` and
        null where a set has no returns or the network no value head.
    Source: primacy bias, Nikishin et al. 2022, arXiv:2205.07802; that it is read from fits on sets of different tasks
        is this project's own.
    Do not trust: a checkpoint that has not met the late tasks yet, of which it says how well early features serve new
        tasks; one kind of targets alone: a network that memorised early observations memorises them more easily again
        (`label_shuffle_primacy` above zero) and can learn a new function on them the worse for it; value errors of
        tasks with unlike returns side by side, and of sets of unlike policies.
    """

    steps: Count = 300
    """Optimiser steps of each fit."""
    batch: Count = 256
    """Observations a step."""
    draws: Count = 3
    """Fits of each kind and set."""
    samples: Count = 2560
    """Observations of each set to fit, spread over it; the smallest set bounds them all."""
    learning_rates: Annotated[Sequence[float], Limits(above=0, most=1, fewest=1)] = (1e-3,)
    """Of Adam; each is tried."""
    least_gain: Annotated[float, Limits(least=0, below=1)] = 0.01
    """As of `fitting`."""
    precision: str = field(default_factory=native_precision)
    """As of `fitting`."""
    needs = "sets"
    cost = "costly"

    def __post_init__(self) -> None:
        """Refuses a precision that there is not."""
        super().__post_init__()
        check_precision(self.name, self.precision)

    def measure_sets(self, subjects: Sequence[Subject]) -> Findings:
        """Returns the ratios and value errors of each set, and how the late ones differ from the early."""
        tasks = [subject.observations.task for subject in subjects]
        if len(set(tasks)) < 2:
            absent = [Finding(Reading(f"{kind}_primacy", None, "not_applicable")) for kind in TARGETS]
            return Findings([*absent, Finding(Reading("value_error_gap", None, "not_applicable"), module=CRITIC)])
        samples = self._samples(subjects)
        fitted = [subject.findings(self._fitting(subject, samples)).readings for subject in subjects]
        found = list(_value_errors(subjects, tasks))
        for kind in TARGETS:
            of_sets = [[each for each in of_set if _is_ratio(each, kind)] for of_set in fitted]
            for subject, ratios in zip(subjects, of_sets, strict=True):
                found += [replace(each, data=subject.observations.digest) for each in ratios if each.draw == -1]
            found += [replace(each, samples=samples) for each in _primacy(kind, of_sets, tasks)]
        return Findings(found)

    def controls(self, subjects: Sequence[Subject]) -> Sequence[tuple[Probe, Subject]]:
        """Returns the fresh network's fits on each set."""
        tasks = {subject.observations.task for subject in subjects}
        samples = self._samples(subjects)
        return [(self._fitting(subject, samples), subject) for subject in subjects] if len(tasks) > 1 else []

    def work(self, subject: Subject) -> Work:
        """Returns the work of `fitting`."""
        return self._fitting(subject, self.samples).work(subject)

    def _samples(self, subjects: Sequence[Subject]) -> int:
        return min(self.samples, *(subject.count for subject in subjects))

    def _fitting(self, subject: Subject, samples: int) -> Fitting:
        """Returns `fitting` on so many observations, by the number that was asked for where the set has no more.

        So it is the probe that a user asks for beside this one, whose fits are not made again.
        """
        asked = self.samples if subject.count <= samples else samples
        return Fitting(self.steps, self.batch, self.draws, asked, self.learning_rates, self.least_gain, self.precision)


def _is_ratio(found: Finding, kind: str) -> bool:
    return found.reading.metric.startswith(f"{kind}_ratio")


def _primacy(kind: str, of_sets: Sequence[Sequence[Finding]], tasks: Sequence[int]) -> Iterator[Finding]:
    """Yields a kind's primacy from the ratios of its sets, whose draws are paired."""
    metric = f"{kind}_primacy"
    by_draw = [[each.reading for each in ratios if each.draw >= 0] for ratios in of_sets]
    statuses = {reading.status for readings in by_draw for reading in readings} or {"not_applicable"}
    if statuses != {"ok"}:
        order: tuple[Status, ...] = ("nonfinite", "degenerate", "not_applicable")
        status = next(each for each in order if each in statuses)
        yield from (Finding(Reading(f"{metric}{end}", None, status)) for end in ("", "_low", "_high"))
        return
    logs = [np.log(np.array([reading.value for reading in readings], np.float64)) for readings in by_draw]
    differences = late_less_early(_by_task(tasks, logs))
    yield from (Finding(Reading(metric, float(each)), draw=draw) for draw, each in enumerate(differences))
    yield from with_interval(metric, (float(differences.mean()), *paired_t_interval(differences)))


def _value_errors(subjects: Sequence[Subject], tasks: Sequence[int]) -> Iterator[Finding]:
    """Yields each head's error on each set, and the gap; a head is one that every set gives values and returns for."""
    pairs = [predictions(subject) for subject in subjects]
    heads = [name for name in pairs[0][0] if all(name in values for values, _ in pairs)]
    for head in heads:
        errors = [value_error(values[head], returns) for values, returns in pairs]
        finite = bool(np.isfinite(errors).all())
        for subject, error, (_, returns) in zip(subjects, errors, pairs, strict=True):
            reading = Reading("value_error", error) if np.isfinite(error) else Reading("value_error", None, "nonfinite")
            yield Finding(reading, module=head, samples=len(returns), data=subject.observations.digest)
        gap = late_less_early(_by_task(tasks, [np.array([error]) for error in errors])).item() if finite else None
        samples = sum(len(returns) for _, returns in pairs)
        yield Finding(Reading("value_error_gap", gap, "ok" if finite else "nonfinite"), module=head, samples=samples)
    if not heads:
        yield Finding(Reading("value_error_gap", None, "not_applicable"), module=CRITIC)


def _by_task(tasks: Sequence[int], values: Sequence[Draws]) -> Mapping[int, Sequence[Draws]]:
    grouped: dict[int, list[Draws]] = defaultdict(list)
    for task, each in zip(tasks, values, strict=True):
        grouped[task].append(each)
    return grouped
