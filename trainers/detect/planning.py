"""Which arms a detection has, which are there already, and running the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from probe.detection.verdict import MAXIMUM_PAIRS
from probe.errors import ConfigurationError, UnknownNameError
from probe.execution import run
from probe.results import Analysis
from probe.trainers.detect.design import OPTIONAL, ArmSettings, Design
from probe.trainers.detect.fork import open_fork
from probe.trainers.detect.placement import Module, place
from probe.trainers.detect.results import stored_arms, write_detections
from probe.trainers.detect.running import ArmJob, run_arm


@dataclass(frozen=True)
class Detections:
    """Detections at several steps of a run, with the same arms and seeds."""

    out: Path
    jobs: Sequence[ArmJob]
    notes: Sequence[str]
    """What the user should be told."""

    @property
    def missing(self) -> list[ArmJob]:
        """The arms that neither a part nor the analysis file holds, pair by pair."""
        stored = stored_arms(self.out, self.jobs)
        return [job for job in self.jobs if job not in stored and job.points() is None]

    def run(self, missing: Sequence[ArmJob], workers: int) -> Iterator[ArmJob]:
        """Runs arms, each on one thread; yields each when its part is written."""
        yield from run(run_arm, missing, workers)

    def assemble(self) -> Analysis:
        """Writes the analysis file and removes the parts."""
        stored = stored_arms(self.out, self.jobs)
        arms = {job: job.points() or stored[job] for job in self.jobs}
        return write_detections(self.out, arms, {job.checkpoint: job.fork.description for job in self.jobs})


def plan_detections(
    run: Path,
    steps: Sequence[int],
    module: Module | None,
    layer: str | None,
    settings: ArmSettings,
    arms: Sequence[str],
    seeds: Sequence[int],
    out: Path,
) -> Detections:
    """Plans every arm of every pair; what cannot be done is refused here, before one is run.

    Args:
        run: The run's folder.
        steps: Where to fork it.
        module: What to ask about; see `place`.
        layer: Where to inject; see `place`.
        settings: How the arms go on.
        arms: Those beyond the ones that a design always has.
        seeds: Of the pairs.
        out: The analysis file; an existing one is extended.

    Raises:
        UnknownNameError: there is no such arm.
        FileError: there is no such run, or neither state nor checkpoint at a step.
        ConfigurationError: it cannot be injected there, or there are more pairs than the exact test takes.
    """
    for name in arms:
        if name not in OPTIONAL:
            raise UnknownNameError("arm", name, OPTIONAL)
    if len(seeds) > MAXIMUM_PAIRS:
        raise ConfigurationError(f"--seeds has {len(seeds)} seeds; the exact test takes at most {MAXIMUM_PAIRS}.")
    jobs: list[ArmJob] = []
    notes: dict[str, None] = {}
    for step in steps:
        fork = open_fork(run, step)
        design = Design(place(fork.specification, module, layer), fork.source, settings)
        fork.configuration(design)
        notes |= dict.fromkeys((*fork.notes, *design.placement.notes))
        digest = str(fork.description["digest"])
        jobs += [
            ArmJob(fork, digest, design, arm, seed, out)
            for seed in seeds
            for arm in dict.fromkeys((*design.arms, *arms))
        ]
    return Detections(out, jobs, tuple(notes))
