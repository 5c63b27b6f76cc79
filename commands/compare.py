"""`probe compare`: two checkpoints or two runs side by side."""

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


def compare(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="A checkpoint, a run folder, or a folder with several seeds of one method."),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise; differences are B - A.")],
    data: Annotated[Path, typer.Option("--data", help="Observation set (HDF5) that both are measured on.")],
    step: Annotated[
        str | None, typer.Option("--step", help="Take the checkpoints nearest to this step, not the last.")
    ] = None,
    probe: Annotated[
        list[str] | None, typer.Option("--probe", help="default, costly, all, or a probe's name; repeatable.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", help="Glob on layer ids; repeatable.")] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Observations to use, spread over the set.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A probe's parameter, such as dormancy.thresholds=0,0.1.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes that measure checkpoints side by side.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", help="Keep the analysis in this file; an existing one is extended.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every row, also those without a difference.")] = False,
    model: Model = None,
    model_args: ModelArgs = None,
    module: Modules = None,
    series_by: SeriesBy = None,
    layout: Layout = None,
    obs_mean: ObservationMean = None,
    obs_var: ObservationVariance = None,
    trust_pickle: TrustPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every row as JSON.")] = False,
) -> None:
    """Show two checkpoints or two runs side by side: both values, the difference, an interval where seeds allow one.

    Example: `probe compare runs/demo/baseline runs/demo/specnorm --data observations.h5`

    Seeds that both sides have are compared in pairs.
    """
    from probe.analysis import choose_probes
    from probe.cautions import warnings
    from probe.checkpoints.hints import parse_hints
    from probe.commands.console import messages
    from probe.commands.differences import comparison_json, print_comparison
    from probe.commands.measuring import carry_out, print_notes
    from probe.comparison import keep_or_drop, open_sides, plan_comparison, read_comparison
    from probe.memory import keep_freed_memory
    from probe.observations import open_observations
    from probe.probes.settings import apply_settings
    from probe.quantities import parse_count

    keep_freed_memory()  # before anything large is allocated
    chosen = apply_settings(choose_probes(probe or ["default"]), settings or [])
    hints = parse_hints(model, model_args or [], module or [], series_by, layout, obs_mean, obs_var, trust_pickle)
    sides = open_sides(a, b, parse_count(step) if step else None, hints)
    with keep_or_drop(out) as path:
        planned = plan_comparison(sides, open_observations(data), path, chosen, layer or ["*"], samples)
        print_notes(planned)
        with carry_out(planned, workers) as analysis:
            compared = read_comparison(analysis, sides, planned, chosen)
            for warning in warnings(analysis):
                messages.print(f"[yellow]Warning:[/] {warning}")
    if as_json:
        print(comparison_json(compared))
    else:
        print_comparison(compared, everything)
