"""`probe analyze`: probes over checkpoint series."""

from pathlib import Path
from typing import Annotated

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


def analyze(
    series: Annotated[list[str], typer.Argument(help="Run folders, folders of checkpoints, globs or files.")],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            help="Observation set, recording (.npy, .npz, HDF5, images), or folder of a set a checkpoint; repeatable.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Analysis file (HDF5) to write; an existing one is extended.")],
    probe: Annotated[
        list[str] | None, typer.Option("--probe", help="default, costly, all, or a probe's name; repeatable.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", help="Glob on layer ids; repeatable.")] = None,
    every: Annotated[int, typer.Option("--every", help="Take every k-th checkpoint.")] = 1,
    steps: Annotated[str | None, typer.Option("--steps", help="Range of steps, such as 1M:5M.")] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Observations to use, spread over the set.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Such as dormancy.thresholds=0,0.1 or diagnosis.units=0.3."),
    ] = None,
    activation: Annotated[
        list[str] | None,
        typer.Option(
            "--activation",
            help="NAME=FUNCTION: what is a nonlinearity and cannot be told, such as torch.clamp=relu; repeatable.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes that measure checkpoints side by side.")] = 1,
    model: Model = None,
    model_args: ModelArgs = None,
    module: Modules = None,
    series_by: SeriesBy = None,
    layout: Layout = None,
    obs_mean: ObservationMean = None,
    obs_var: ObservationVariance = None,
    trust_pickle: TrustPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run probes over checkpoint series.

    Example: `probe analyze runs/demo --data observations.h5 --out analysis.h5`

    A second run measures only what is new: another threshold or layer needs no forward pass.

    NAME of --activation is a glob on module paths (`encoder.act*=relu`: the output of such a module is a layer) or a
    function of PyTorch's (`torch.clamp=relu`: every call is one); `probe inspect CHECKPOINT` says where no
    nonlinearity is found.

    Checkpoints of other libraries are read as they are (`probe list formats`): networks of Stable-Baselines3 are
    rebuilt, those of recognisable shapes inferred, any other is given:
    `probe analyze logs/run --model net.py:Agent --model-args hidden=64 --data observations.h5 --out analysis.h5`
    """
    from probe.analysis import choose_probes, plan, select_checkpoints
    from probe.capture import parse_activations
    from probe.cautions import warnings
    from probe.checkpoints import open_series
    from probe.checkpoints.hints import parse_hints
    from probe.commands.console import messages
    from probe.commands.measuring import carry_out, print_notes
    from probe.commands.summary import print_summary, summary_json
    from probe.diagnosis import diagnose, thresholds_from
    from probe.matched import open_data
    from probe.memory import keep_freed_memory
    from probe.probes.settings import apply_settings
    from probe.quantities import parse_range

    keep_freed_memory()  # before anything large is allocated
    hints = parse_hints(model, model_args or [], module or [], series_by, layout, obs_mean, obs_var, trust_pickle)
    thresholds, of_probes = thresholds_from(settings or [])
    chosen = apply_settings(choose_probes(probe or ["default"]), of_probes)
    opened = select_checkpoints(open_series(series, hints), every, parse_range(steps) if steps else None)
    sets = [open_data(path) for path in data]
    planned = plan(opened, sets, out, chosen, layer or ["*"], samples, parse_activations(activation or []))
    print_notes(planned)
    with carry_out(planned, workers) as analysis:
        for warning in warnings(analysis):
            messages.print(f"[yellow]Warning:[/] {warning}")
        diagnoses = diagnose(analysis, thresholds)
        if as_json:
            print(summary_json(analysis, diagnoses, out))
        else:
            print_summary(analysis, diagnoses, out)
