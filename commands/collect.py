"""`probe collect`: real observations of an environment into an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from probe.checkpoints.native import NativeCheckpoint
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Collect real observations for `probe analyze`.

    Example: `probe collect procgen:coinrun --out coinrun.h5 --for runs/coinrun --set start_level=10000`

    With --per-checkpoint, `probe analyze SERIES --data FOLDER` measures each checkpoint on its own set. Sets that are
    there already are passed over, so an interrupted collection goes on.
    """

    def write(path: Path, acting: NativeCheckpoint | None, reference: NativeCheckpoint | None = None) -> None:
        from probe.commands.console import progress
        from probe.datasets.collect import collect as run
        from probe.datasets.sampling import DEFAULT_SAMPLES, Sampling
        from probe.datasets.settings import specification_of

        settings, width = _taken_from(reference, acting)
        specification = specification_of(environment, settings, changes or [])
        wanted = samples if samples is not None else 10 * width or DEFAULT_SAMPLES
        sampling = Sampling(wanted, stride, num_envs, seed, gamma)
        _warn_of_few(wanted, width)
        frames = sampling.decisions * num_envs * specification.action_repeat
        with progress(f"Collecting {specification.id}", frames, "frames") as advance:
            collected = run(specification, path, sampling, acting, advance)
        _report(collected, as_json)

    if per_checkpoint is None:
        write(out, _acting(policy), _reference(series))
    else:
        _refuse_other_policies(policy, series)
        missing = _missing_sets(per_checkpoint, out)
        for path, checkpoint in missing:
            write(path, checkpoint)
        if not missing:
            _say_nothing_is_missing(out)


def _reference(series: Path | None) -> NativeCheckpoint | None:
    """Returns the first checkpoint of the series that the set is for."""
    from probe.checkpoints import open_series
    from probe.checkpoints.native import NativeCheckpoint
    from probe.errors import ConfigurationError

    if series is None:
        return None
    firsts = [each.checkpoints[0] for each in open_series([series])]
    native = [first for first in firsts if isinstance(first, NativeCheckpoint)]
    for other in native[1:]:
        if other.metadata.environment != native[0].metadata.environment:
            raise ConfigurationError(
                f"{native[0].path} and {other.path} were made in different environments. Give --for one of them."
            )
    if not native:
        raise ConfigurationError(f"{series}: these checkpoints do not say which environment they were made in.")
    return native[0]


def _acting(policy: str) -> NativeCheckpoint | None:
    from probe.checkpoints import open_checkpoint

    return None if policy == "random" else open_checkpoint(Path(policy))


def _taken_from(
    reference: NativeCheckpoint | None, acting: NativeCheckpoint | None
) -> tuple[dict[str, Any] | None, int]:
    """Returns the environment's settings and the widest layer of the network that the set is for."""
    from probe.datasets.sampling import widest_layer

    if reference is not None:
        return reference.metadata.environment, widest_layer(reference.metadata.network)
    if acting is not None:
        settings = {**acting.metadata.environment, "task": acting.metadata.task}
        return settings, widest_layer(acting.metadata.network)
    return None, 0


def _refuse_other_policies(policy: str, series: Path | None) -> None:
    from probe.errors import ConfigurationError

    if policy != "random" or series is not None:
        raise ConfigurationError("--per-checkpoint says who acts and for which series. Leave out --policy and --for.")


def _missing_sets(series: Path, folder: Path) -> list[tuple[Path, NativeCheckpoint]]:
    """Returns the checkpoints of a series that have no set in the folder yet, and where theirs goes."""
    from probe.checkpoints import open_checkpoint, open_series
    from probe.errors import ConfigurationError, FileError
    from probe.observations import open_observations

    (first, *others) = open_series([series])
    if others:
        raise ConfigurationError(f"{series}: {1 + len(others)} series; one is expected, such as {first.path}.")
    missing = []
    for each in first.checkpoints:
        path = folder / f"step_{each.step:09d}.h5"
        if not path.exists():
            missing.append((path, open_checkpoint(each.path)))
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
