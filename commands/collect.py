"""`probe collect`: real observations of an environment into an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probe.commands.foreign import (
    Layout,
    Model,
    ModelArgs,
    ObservationMean,
    ObservationVariance,
    SeriesBy,
    TrustPickle,
)

if TYPE_CHECKING:
    from probe.checkpoints import Checkpoint, Hints
    from probe.datasets.collect import Collected


def collect(
    environment: Annotated[str, typer.Argument(help="`procgen:coinrun`, or the id of any Gymnasium environment.")],
    out: Annotated[
        Path,
        typer.Option(help="HDF5 file to write; never overwritten. With --per-checkpoint a folder.", metavar="FILE.h5"),
    ],
    samples: Annotated[
        int | None,
        typer.Option(help="Observations to keep. Default: 10 times the widest layer of the network named, or 2,560."),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option("--for", help="Checkpoints that the set is for: their environment's settings are taken."),
    ] = None,
    policy: Annotated[str, typer.Option(help="`random`, or a checkpoint that acts.")] = "random",
    per_checkpoint: Annotated[
        Path | None,
        typer.Option(help="Series: a set for each checkpoint, with its own policy, into the folder --out."),
    ] = None,
    stride: Annotated[int, typer.Option(help="Keep every so many-th decision of an environment.")] = 8,
    num_envs: Annotated[int, typer.Option(help="Environments played side by side.")] = 16,
    seed: Annotated[int, typer.Option(help="Levels and actions follow from it.")] = 0,
    gamma: Annotated[float, typer.Option(help="Discount of the stored returns, per decision.")] = 0.99,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of the environment, such as `num_levels=200` or `task=1`."),
    ] = None,
    model: Model = None,
    model_args: ModelArgs = None,
    series_by: SeriesBy = None,
    layout: Layout = None,
    obs_mean: ObservationMean = None,
    obs_var: ObservationVariance = None,
    trust_pickle: TrustPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Collect real observations for `probe analyze`.

    Example: `probe collect procgen:coinrun --out coinrun.h5 --for runs/coinrun --set start_level=10000`

    With --per-checkpoint, `probe analyze SERIES --data FOLDER` measures each checkpoint on its own set. Sets that are
    there already are passed over, so an interrupted collection goes on.
    """

    from probe.checkpoints.hints import parse_hints

    said: set[str] = set()
    hints = parse_hints(model, model_args or [], (), series_by, layout, obs_mean, obs_var, trust_pickle)

    def write(path: Path, acting: Checkpoint | None, reference: Checkpoint | None = None) -> None:
        from probe.commands.console import messages, progress
        from probe.datasets.collect import collect as run
        from probe.datasets.sampling import DEFAULT_SAMPLES, Sampling
        from probe.datasets.settings import specification_of

        settings, width = _taken_from(reference or acting, reference is None, environment, changes or [])
        specification = specification_of(environment, settings, changes or [])
        wanted = samples if samples is not None else 10 * width or DEFAULT_SAMPLES
        sampling = Sampling(wanted, stride, num_envs, seed, gamma)
        _warn_of_few(wanted, width)
        for line in _assumed(reference or acting, settings):
            if line not in said:
                messages.print(line, highlight=False)
                said.add(line)
        frames = sampling.decisions * num_envs * specification.action_repeat
        with progress(f"Collecting {specification.id}", frames, "frames") as advance:
            collected = run(specification, path, sampling, acting, advance)
        _report(collected, as_json)

    if per_checkpoint is None:
        write(out, _acting(policy, hints), _reference(series, hints))
    else:
        _refuse_other_policies(policy, series)
        missing = _missing_sets(per_checkpoint, out, hints)
        for path, checkpoint in missing:
            write(path, checkpoint)
        if not missing:
            _say_nothing_is_missing(out)


def _reference(series: Path | None, hints: Hints) -> Checkpoint | None:
    """Returns the first checkpoint of the series that the set is for."""
    from probe.checkpoints import open_series
    from probe.checkpoints.native import NativeCheckpoint
    from probe.errors import ConfigurationError

    if series is None:
        return None
    first, *others = [each.checkpoints[0] for each in open_series([series], hints)]
    made_in = [
        each.metadata.environment if isinstance(each, NativeCheckpoint) else each.observation_shape
        for each in (first, *others)
    ]
    for other, settings in zip(others, made_in[1:], strict=True):
        if settings != made_in[0]:
            raise ConfigurationError(
                f"{first.path} and {other.path} were made in different environments. Give --for one of them."
            )
    return first


def _acting(policy: str, hints: Hints) -> Checkpoint | None:
    from probe.checkpoints import open_checkpoint

    return None if policy == "random" else open_checkpoint(Path(policy), hints)


def _taken_from(
    checkpoint: Checkpoint | None, acts: bool, environment: str, changes: list[str]
) -> tuple[dict[str, Any] | None, int]:
    """Returns the environment's settings and the widest layer of the network that the set is for, or that acts."""
    from probe.checkpoints.native import NativeCheckpoint
    from probe.datasets.preprocessing import preprocessing_of
    from probe.datasets.sampling import widest_layer
    from probe.layers import widest_hidden

    if checkpoint is None:
        return None, 0
    if isinstance(checkpoint, NativeCheckpoint):
        settings = checkpoint.metadata.environment
        own = {**settings, "task": checkpoint.metadata.task} if acts else settings
        return own, widest_layer(checkpoint.metadata.network)
    shape = checkpoint.observation_shape
    if shape is None:
        return None, 0
    return preprocessing_of(environment, shape, changes, str(checkpoint.path)), widest_hidden(checkpoint)


def _assumed(checkpoint: Checkpoint | None, settings: dict[str, Any] | None) -> list[str]:
    """Returns what was taken from another library's checkpoint, and what was assumed about it."""
    from probe.checkpoints.native import NativeCheckpoint

    if checkpoint is None or settings is None or isinstance(checkpoint, NativeCheckpoint):
        return []
    given = {**settings["keywords"], "frame_stack": settings.get("frame_stack", 1)}
    taken = ", ".join(f"{name}={value}" for name, value in given.items())
    notes = checkpoint.notes(checkpoint.observation_shape)
    return [f"As the network takes observations: {taken}.", *(f"[yellow]Assumed:[/] {note}." for note in notes)]


def _refuse_other_policies(policy: str, series: Path | None) -> None:
    from probe.errors import ConfigurationError

    if policy != "random" or series is not None:
        raise ConfigurationError("--per-checkpoint says who acts and for which series. Leave out --policy and --for.")


def _missing_sets(series: Path, folder: Path, hints: Hints) -> list[tuple[Path, Checkpoint]]:
    """Returns the checkpoints of a series that have no set in the folder yet, and where theirs goes."""
    from probe.checkpoints import open_series
    from probe.errors import ConfigurationError, FileError
    from probe.observations import open_observations

    (first, *others) = open_series([series], hints)
    if others:
        raise ConfigurationError(f"{series}: {1 + len(others)} series; one is expected, such as {first.path}.")
    missing = []
    for each in first.checkpoints:
        path = folder / f"step_{each.step:09d}.h5"
        if not path.exists():
            missing.append((path, each))
        elif open_observations(path).attributes["policy"] != each.digest:
            raise FileError(f"{path}: another checkpoint's set. Choose another --out, or remove it first.")
    return missing


def _say_nothing_is_missing(folder: Path) -> None:
    from probe.commands.console import messages

    messages.print(f"Nothing to collect: every checkpoint has its set in {folder}.")


def _warn_of_few(samples: int, width: int) -> None:
    from probe.commands.console import messages

    if samples < 10 * width:
        messages.print(
            f"Warning: {samples:,} samples for a layer of {width:,} units. Ranks and spectra need 10 samples a unit "
            f"({10 * width:,}); with fewer they come out too low.",
            style="yellow",
        )


def _report(collected: Collected, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from probe.commands.console import console, number

    if as_json:
        print(json.dumps({**asdict(collected), "path": str(collected.path)}))
    else:
        console.print(
            f"{collected.path}: {collected.samples:,} samples of {collected.episodes:,} episodes, {collected.kind}, "
            f"{number(float(collected.bytes))}B"
        )
