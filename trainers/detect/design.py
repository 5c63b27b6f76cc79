"""What one detection is: everything but the run, the step, the arms and the seeds."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from probe.detection import NAME, settings_digest
from probe.trainers.detect.placement import Placement
from probe.trainers.injecting import HeadMoments

VERSION = 2
"""Raised when what is measured changes; older arms are run again."""
CONTROL, MOMENT_RESET, INJECTED, HEAD_RESET, FRESH = "control", "moment-reset", "injected", "head-reset", "fresh"
OPTIONAL = (HEAD_RESET, FRESH)
Source = Literal["state", "weights"]
"""A resume state, or a checkpoint's weights with a new optimiser."""


@dataclass(frozen=True)
class ArmSettings:
    """How arms go on from the fork."""

    budget: int
    """Agent decisions of each arm, rounded up to whole updates."""
    head_moments: HeadMoments = "fresh"
    """Of the injected arm."""
    learning_rate: float | None = None
    """Held constant from the fork on; None: the run's own schedule goes on."""
    fit_steps: int = 300
    """Optimiser steps of target fitting, and of those on the frozen TD target."""
    fit_batch: int = 64
    """Observations a step of these."""
    samples: int = 1_280
    """Observations that they are on."""
    fit_learning_rate: float = 1e-3
    """Of their Adam, whose moments start at zero in every arm."""


@dataclass(frozen=True)
class Design:
    """What is injected, into what, and how the arms go on."""

    placement: Placement
    source: Source
    settings: ArmSettings

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are always run. With a new optimiser, control and moment-reset are one."""
        return (CONTROL, INJECTED) if self.source == "weights" else (CONTROL, MOMENT_RESET, INJECTED)

    @property
    def reference(self) -> str:
        """What the injected arm is compared with: the arm whose head has the same moments, but for the injection."""
        return CONTROL if self.source == "weights" or self.settings.head_moments == "copy" else MOMENT_RESET

    def fits(self, arm: str) -> bool:
        """Whether an arm has fits of its own: with new moments, control and moment-reset are the same network."""
        return arm == self.reference or arm not in (CONTROL, MOMENT_RESET)

    @property
    def parameters(self) -> str:
        """Everything as JSON."""
        whole = {**asdict(self.placement), **asdict(self.settings), "source": self.source, "reference": self.reference}
        return json.dumps(whole, sort_keys=True)

    @property
    def record(self) -> dict[str, Any]:
        """What the table `probes` of an analysis says of it."""
        return {"name": NAME, "version": VERSION, "parameters": self.parameters, "dtype": "float32"}

    @property
    def digest(self) -> str:
        """SHA-256 of `parameters`: what rows name in the place of an observation set."""
        return settings_digest(VERSION, self.parameters)
