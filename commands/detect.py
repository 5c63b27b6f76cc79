"""`probe detect`: plasticity injection as a detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from probe.commands.foreign import (
    Layout,
    Model,
    ModelArgs,
    Modules,
    ObservationMean,
    ObservationVariance,
    SeriesBy,
    TrustPickle,
)

if TYPE_CHECKING:
    from probe.checkpoints.hints import Hints
    from probe.probes.injection import Injection
    from probe.trainers.detect.planning import Detections

_ONLINE, _OFFLINE = "Continuing a run", "Fitting checkpoints offline"


def detect(
    series: Annotated[
        list[str], typer.Argument(metavar="RUN", help="The folder of a run; with --offline, any checkpoint series.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Analysis file (HDF5) to write; an existing one is extended.")],
    at: Annotated[
        str | None, typer.Option("--at", help="Steps to fork the run at, such as 50k,100k. With --offline: all.")
    ] = None,
    inject: Annotated[
        Literal["actor", "critic", "both"] | None,
        typer.Option("--inject", help="What to ask about. Default: both, or the only head.", rich_help_panel=_ONLINE),
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(
            "--cut",
            help="Stage from which on it is injected, such as encoder.dense. Default: before the last hidden layer.",
            rich_help_panel=_ONLINE,
        ),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="Steps of each arm.", rich_help_panel=_ONLINE)] = "20k",
    seeds: Annotated[str, typer.Option("--seeds", help="A pair each, such as 0-4; at least 5 for a verdict.")] = "0-4",
    head_moments: Annotated[
        Literal["fresh", "copy"],
        typer.Option(
            "--head-moments",
            help="Whether the new head starts without moments, or with the old one's; then control is compared with.",
            rich_help_panel=_ONLINE,
        ),
    ] = "fresh",
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", help="A further arm: head-reset or fresh; repeatable.", rich_help_panel=_ONLINE),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            help="Of every arm, constant. Default: the run's schedule goes on.",
            min=0.0,
            rich_help_panel=_ONLINE,
        ),
    ] = None,
    fit_steps: Annotated[int, typer.Option("--fit-steps", help="Optimiser steps of each fit.", min=1)] = 300,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Play nothing: fit checkpoints, injected and not, to new targets on --data.",
            rich_help_panel=_OFFLINE,
        ),
    ] = False,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Observation set; repeatable.", rich_help_panel=_OFFLINE)
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", help="Arms side by side, each on one thread. Default: one a core.", min=0)
    ] = 0,
    model: Model = None,
    model_args: ModelArgs = None,
    module: Modules = None,
    series_by: SeriesBy = None,
    layout: Layout = None,
    obs_mean: ObservationMean = None,
    obs_var: ObservationVariance = None,
    trust_pickle: TrustPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the detections as JSON.")] = False,
) -> None:
    """Tell whether actor or critic would learn better with new parameters at the same function: plasticity injection.

    Example: `probe detect runs/cartpole/baseline/seed0 --at 20k --budget 5k --out detect.h5`

    From a resume state (`probe train --keep-state STEP`) or else a checkpoint, each seed continues the run in paired
    arms: as it is (control), with the head's moments reset, and injected. Compared are returns, the fitting of new
    targets, and the TD error on one frozen target. The run is never changed; what was done is not done again.

    `probe detect --offline SERIES --data observations.h5 --out detect.h5` needs no run: the probe `injection` on any
    checkpoints, of other libraries too.
    """
    from probe.checkpoints.hints import parse_hints
    from probe.commands.train import parse_seeds
    from probe.errors import ConfigurationError
    from probe.execution import usable_cores
    from probe.memory import keep_freed_memory
    from probe.probes.injection import Injection
    from probe.quantities import parse_count
    from probe.trainers.detect.design import ArmSettings
    from probe.trainers.detect.planning import plan_detections

    keep_freed_memory()  # before anything large is allocated
    steps = None if at is None else [parse_count(each) for each in at.split(",")]
    side_by_side = workers or usable_cores()
    if offline:
        hints = parse_hints(model, model_args or [], module or [], series_by, layout, obs_mean, obs_var, trust_pickle)
        probe = Injection(steps=fit_steps, draws=len(parse_seeds(seeds)))
        _fit_offline(series, data or [], out, steps, probe, hints, side_by_side, as_json)
        return
    if data:
        raise ConfigurationError("--data is for --offline; arms that continue a run play for themselves.")
    if steps is None or len(series) != 1:
        raise ConfigurationError("One run and the steps to fork it at are expected: RUN --at STEP[,STEP].")
    settings = ArmSettings(parse_count(budget), head_moments, learning_rate, fit_steps)
    pairs = parse_seeds(seeds)
    planned = plan_detections(Path(series[0]), steps, inject, cut, settings, arm or [], pairs, out)
    _carry_out(planned, side_by_side, as_json)


def _carry_out(planned: Detections, workers: int, as_json: bool) -> None:
    from probe.commands.console import messages, progress
    from probe.commands.detections import detections_json, print_detections
    from probe.detection import read_detections

    for note in planned.notes:
        messages.print(f"[yellow]Note:[/] {note}")
    missing = planned.missing
    if not missing:
        messages.print("Nothing new to run: every arm is in the analysis already.")
    else:
        total = sum(job.design.settings.budget for job in missing)
        with progress("Continuing the run", total, "steps") as advance:
            for job in planned.run(missing, workers):
                advance(job.design.settings.budget, note=f"{job.arm}, seed {job.seed}")
    with planned.assemble() as analysis:
        asked = {(job.checkpoint, job.design.digest) for job in planned.jobs}
        rows = analysis.select(probe="detect")
        chosen = [pair in asked for pair in zip(rows["checkpoint"], rows["data"], strict=True)]
        found = read_detections({name: column[chosen] for name, column in rows.items()}, analysis.probes)
    print(detections_json(found, planned.out)) if as_json else print_detections(found, planned.out)


def _fit_offline(
    series: list[str],
    data: list[Path],
    out: Path,
    steps: list[int] | None,
    probe: Injection,
    hints: Hints,
    workers: int,
    as_json: bool,
) -> None:
    from dataclasses import replace

    from probe.analysis import plan
    from probe.checkpoints import open_series
    from probe.commands.detections import offline_json, print_offline
    from probe.commands.measuring import carry_out, print_notes
    from probe.detection.words import offline_verdicts
    from probe.errors import ConfigurationError
    from probe.matched import open_data

    if not data:
        raise ConfigurationError("--offline needs observations: --data FILE.h5, as `probe collect` writes them.")
    opened = open_series(series, hints)
    if steps is not None:
        opened = [replace(each, checkpoints=tuple(c for c in each.checkpoints if c.step in steps)) for each in opened]
        if not all(each.checkpoints for each in opened):
            raise ConfigurationError(f"--at {','.join(map(str, steps))}: not every series has a checkpoint there.")
    planned = plan(opened, [open_data(path) for path in data], out, [probe])
    print_notes(planned)
    with carry_out(planned, workers) as analysis:
        found = offline_verdicts(analysis)
    print(offline_json(found, out)) if as_json else print_offline(found, out)
