"""One arm of one pair: training from the fork to the end of the budget, and what it came to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from probe.detection.reading import CURVE
from probe.probes.base import Status
from probe.regression import Curve
from probe.results.parts import PartStore
from probe.threads import use_threads
from probe.trainers.base import NumericalFault
from probe.trainers.detect.arms import begin
from probe.trainers.detect.design import VERSION, Design
from probe.trainers.detect.fits import fit_network
from probe.trainers.detect.fork import Agent, Fork
from probe.trainers.streams import derived_seed

STRETCHES = 20
"""Points of a return curve."""
THREADS = 1
"""PyTorch's, of an arm: what it computes must not follow from how many others run."""
ARMS = "arms"
"""What the folder of finished arms is named after: `probe analyze` clears its own and leaves these."""
_POINTS = ("initial", "quarter", "half", "final", "average")


@dataclass(frozen=True)
class Point:
    """One number of an arm."""

    metric: str
    step: int
    """Of the agent when it was measured."""
    value: float | None
    status: Status
    samples: int
    """Episodes, or observations, behind it."""


@dataclass(frozen=True)
class ArmJob:
    """An arm of a pair to run; plain data that travels to processes."""

    fork: Fork
    checkpoint: str
    """SHA-256 of what is forked."""
    design: Design
    arm: str
    seed: int
    out: Path
    """The analysis file that the part belongs to."""

    @property
    def key(self) -> str:
        """The part's name."""
        whole = "/".join((self.checkpoint, self.design.digest, str(VERSION), self.arm, str(self.seed)))
        return f"detect-{sha256(whole.encode()).hexdigest()[:16]}"

    def points(self) -> list[Point] | None:
        """Reads what the arm came to; None where it was not run."""
        part = PartStore(self.out, ARMS).load(self.key)
        return None if part is None else [Point(**each) for each in part[1]["points"]]

    def save(self, points: Sequence[Point]) -> None:
        """Writes what the arm came to."""
        described: dict[str, Any] = {"points": [asdict(each) for each in points]}
        PartStore(self.out, ARMS).save(self.key, {}, described)


def run_arm(job: ArmJob) -> ArmJob:
    """Runs an arm and writes its part.

    Raises:
        ProbeError: the run cannot be read, or not be forked as the design says.
    """
    threads = torch.get_num_threads()
    use_threads(THREADS)
    try:
        job.save(_points(job))
    finally:
        use_threads(threads)
    return job


def _points(job: ArmJob) -> list[Point]:
    design, settings = job.design, job.design.settings
    seed = derived_seed(job.fork.record.seed, "detect", job.fork.step, job.seed)
    agent = job.fork.agent(design, job.seed)
    try:
        values = agent.value_targets(settings.samples, torch.Generator().manual_seed(derived_seed(seed, "values")))
        agent.notes.clear()
        begin(job.arm, agent, design, torch.Generator().manual_seed(derived_seed(seed, "fresh")))
        fits = fit_network(agent.network, values, design, seed) if design.fits(job.arm) else {}
        return [*_fit_points(fits, job.fork.step, len(values)), *_play(agent, job.fork.step, settings.budget)]
    finally:
        agent.close()


def _fit_points(fits: dict[str, Curve], step: int, samples: int) -> list[Point]:
    return [
        Point(f"{kind}_{name}_loss", step, *_known(getattr(curve, name), curve.finite), samples)
        for kind, curve in fits.items()
        for name in _POINTS
    ]


def _known(value: float, finite: bool) -> tuple[float | None, Status]:
    return (value, "ok") if finite else (None, "nonfinite")


def _play(agent: Agent, start: int, budget: int) -> list[Point]:
    """Trains to the end of the budget; returns the mean return of all episodes that ended, and of stretches of it."""
    ended: list[tuple[int, float]] = []
    fault = False
    while agent.step < start + budget and not fault:
        try:
            agent.iterate()
        except NumericalFault:
            fault = True
            break
        ended += [(agent.step, each) for each in agent.episodes.ended]
        if agent.replay is not None:
            agent.replay.keep_for(())  # what nothing samples any more need not stay in memory
    marks = [start + budget * (place + 1) // STRETCHES for place in range(STRETCHES)]
    stretches = zip([start, *marks], [*marks[:-1], max(agent.step, marks[-1])], strict=False)
    curve = [
        _mean(CURVE, mark, [value for at, value in ended if first < at <= last])
        for mark, (first, last) in zip(marks, stretches, strict=True)
    ]
    whole = _mean("return", start + budget, [value for _, value in ended])
    return [*curve, Point("return", start + budget, None, "nonfinite", whole.samples) if fault else whole]


def _mean(metric: str, step: int, returns: Sequence[float]) -> Point:
    if not returns:
        return Point(metric, step, None, "low_sample", 0)
    return Point(metric, step, sum(returns) / len(returns), "ok", len(returns))
