"""Runs the suite on the cases and scores its verdicts against what is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import binomtest

from probe.analysis import analyze
from probe.diagnosis import SeriesDiagnosis, Thresholds, diagnose
from probe.observations import open_observations
from probe.probes.base import Probe
from probe.probes.fitting import Fitting
from tests.validity.architectures import Architecture
from tests.validity.cases import Case, constructed, trained

PROBES: tuple[str, ...] = ("default",)
SMALL_FITTING = Fitting(samples=640, steps=150, batch=64)
"""The networks are small; a tenth of the default budget teaches a new one as much."""


@dataclass(frozen=True)
class Verdict:
    """What the suite said of a case."""

    kind: str
    severity: float
    faulty: bool
    architecture: str
    state: str
    probes: frozenset[str]
    """Probes that gave evidence."""

    @property
    def alarm(self) -> bool:
        """Whether a fault was found."""
        return self.state in ("degrading", "lost")


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % Wilson interval."""

    found: int
    of: int

    @property
    def text(self) -> str:
        """The share in percent with its interval."""
        low, high = binomtest(self.found, self.of).proportion_ci(method="wilson")
        return f"{100 * self.found / self.of:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def make_cases(
    architecture: Architecture, folder: Path, seeds: Sequence[int], trained_seeds: Sequence[int]
) -> list[Case]:
    """Makes the constructed cases of an architecture, and the trained ones where training it takes seconds."""
    cases = list(constructed(architecture, seeds))
    if not architecture.spec.is_image:
        data = open_observations(architecture.observations(folder))
        observations = torch.cat(list(data.batches(data.samples)))
        cases += trained(architecture, observations, trained_seeds)
    return cases


def verdicts(architecture: Architecture, cases: Sequence[Case], folder: Path, workers: int) -> list[Verdict]:
    """Analyzes the cases' series as a user would, and reads the diagnosis."""
    probes: list[str | Probe] = [*PROBES]
    if not architecture.spec.is_image:
        probes.append(SMALL_FITTING)
    series = [case.write(folder / "series") for case in cases]
    data = architecture.observations(folder)
    out = folder / f"{architecture.name.replace(' ', '_')}.h5"
    with analyze(series, data, out, probes, workers) as analysis:
        found = {each.run: each for each in diagnose(analysis, Thresholds())}
    return [_verdict(case, found[case.name]) for case in cases]


def _verdict(case: Case, diagnosis: SeriesDiagnosis) -> Verdict:
    probes = frozenset(each.sign.probe for module in diagnosis.modules for each in module.evidence)
    severity = case.severity if case.faulty else 0.0
    return Verdict(case.kind, severity, case.faulty, case.architecture.name, diagnosis.state, probes)
