"""Detections with made-up numbers, written through the real writer."""

from collections.abc import Mapping
from math import exp
from pathlib import Path

import numpy as np

from probe.detection.reading import CURVE
from probe.trainers.configuration import load
from probe.trainers.detect.design import CONTROL, INJECTED, MOMENT_RESET, ArmSettings, Design
from probe.trainers.detect.fork import Fork
from probe.trainers.detect.placement import Module, Placement
from probe.trainers.detect.results import write_detections
from probe.trainers.detect.running import STRETCHES, ArmJob, Point
from probe.trainers.record import RunRecord

STEP, BUDGET = 50_000, 20_000


def write_detection(path: Path, gains: Mapping[Module, float], pairs: int = 5) -> Path:
    """Writes detections, one a module, whose injected arms are better by about a gain (in ln of losses)."""
    record = RunRecord.new("demo", "cartpole", "baseline", 0, load("cartpole"))
    fork, digest = Fork(path.parent / "runs", STEP, record), "c" * 64
    described = {"run": "demo", "method": "baseline", "seed": 0, "task": 0, "step": STEP, "frames": STEP}
    described |= {"updates": 100, "algorithm": "ppo", "format": "probe-state", "digest": digest, "path": "runs"}
    arms: dict[ArmJob, list[Point]] = {}
    for module, gain in gains.items():
        placement = Placement(module, f"{module}.dense", split="encoder.dense")
        design = Design(placement, "state", ArmSettings(BUDGET))
        for seed in range(pairs):
            for arm in (CONTROL, MOMENT_RESET, INJECTED):
                rng = np.random.default_rng([seed, *module.encode(), *arm.encode()])
                better = gain + 0.1 * rng.normal() if arm == INJECTED else 0.0
                arms[ArmJob(fork, digest, design, arm, seed, path)] = _points(better, module, arm, rng)
    write_detections(path, arms, {digest: described}).close()
    return path


def _points(better: float, module: Module, arm: str, rng: np.random.Generator) -> list[Point]:
    returns = 20 + (10 + 40 * better) * np.linspace(0, 1, STRETCHES) + rng.normal(0, 2, STRETCHES)
    marks = (STEP + BUDGET * (np.arange(STRETCHES) + 1) // STRETCHES).tolist()
    points = [Point(CURVE, mark, value, "ok", 3) for mark, value in zip(marks, returns.tolist(), strict=True)]
    points.append(Point("return", STEP + BUDGET, float(returns.mean()), "ok", 60))
    kinds = ("fitting", "td_error") if module != "actor" else ("fitting",)
    if arm != CONTROL:
        for kind in kinds:
            points.append(Point(f"{kind}_initial_loss", STEP, 1.0, "ok", 1280))
            points.append(Point(f"{kind}_average_loss", STEP, 0.5 * exp(-better), "ok", 1280))
    return points
