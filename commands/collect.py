"""`probe collect`: real observations of an environment into an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
        typer.Option("--for", help="Checkpoints that the set is for: their environment's settings, or what they take."),
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

    Checkpoints of other libraries are taken too (--for, --policy, --per-checkpoint): frame stack, frame size and
    colours are those that the network takes, and an agent acts as its file says that it did:
    `probe collect atari:Pong --per-checkpoint logs/ppo/PongNoFrameskip-v4_1 --out sets`

    With --per-checkpoint, `probe analyze SERIES --data FOLDER` measures each checkpoint on its own set. Sets that are
    there already are passed over, so an interrupted collection goes on.
    """
    from probe.checkpoints.hints import parse_hints

    hints = parse_hints(model, model_args or [], (), series_by, layout, obs_mean, obs_var, trust_pickle)
    said: set[str] = set()

    def write(path: Path, acting: Checkpoint | None, reference: Checkpoint | None = None) -> None:
        from probe.commands.console import messages, progress
        from probe.datasets.collect import collect as run
        from probe.datasets.preprocessing import taken_from
        from probe.datasets.sampling import DEFAULT_SAMPLES, Sampling
        from probe.datasets.settings import specification_of

        taken = taken_from(reference or acting, reference is None, environment, changes or [])
        specification = specification_of(environment, taken.settings, changes or [])
        wanted = samples if samples is not None else 10 * taken.widest or DEFAULT_SAMPLES
        sampling = Sampling(wanted, stride, num_envs, seed, gamma)
        _warn_of_few(wanted, taken.widest)
        for note in dict.fromkeys(taken.notes):
            if note not in said:
                messages.print(f"[yellow]{specification.id}:[/] {note}.", highlight=False)
        said.update(taken.notes)
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
