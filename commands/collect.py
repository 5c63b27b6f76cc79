"""`probe collect`: real observations of an environment into an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from probe.checkpoints import Checkpoint
    from probe.checkpoints.native import NativeCheckpoint
    from probe.datasets.collect import Collected


def collect(
    environment: Annotated[str, typer.Argument(help="`procgen:coinrun`, or the id of any Gymnasium environment.")],
    out: Annotated[Path, typer.Option(help="HDF5 file to write; never overwritten.", metavar="FILE.h5")],
    samples: Annotated[
        int | None,
        typer.Option(help="Observations to keep. Default: 10 times the widest layer of the network named, or 2,560."),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option("--for", help="Checkpoints that the set is for: their environment's settings are taken."),
    ] = None,
    policy: Annotated[str, typer.Option(help="`random`, or a checkpoint that acts.")] = "random",
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
    """
    from probe.commands.console import progress
    from probe.datasets.collect import collect as run
    from probe.datasets.sampling import DEFAULT_SAMPLES, Sampling
    from probe.datasets.settings import specification_of

    reference = _reference(series)
    acting = _acting(policy)
    settings, width = _taken_from(reference, acting)
    specification = specification_of(environment, settings, changes or [])
    wanted = samples if samples is not None else 10 * width or DEFAULT_SAMPLES
    sampling = Sampling(wanted, stride, num_envs, seed, gamma)
    _warn_of_few(wanted, width)
    frames = sampling.decisions * num_envs * specification.action_repeat
    with progress(f"Collecting {specification.id}", frames, "frames") as advance:
        collected = run(specification, out, sampling, acting, advance)
    _report(collected, as_json)


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


def _acting(policy: str) -> Checkpoint | None:
    from probe.checkpoints import open_checkpoint

    return None if policy == "random" else open_checkpoint(Path(policy))


def _taken_from(reference: NativeCheckpoint | None, acting: Checkpoint | None) -> tuple[dict[str, Any] | None, int]:
    """Returns the environment's settings and the widest layer of the network that the set is for."""
    from probe.checkpoints.native import NativeCheckpoint
    from probe.datasets.sampling import widest_layer

    if reference is not None:
        return reference.metadata.environment, widest_layer(reference.metadata.network)
    if isinstance(acting, NativeCheckpoint):
        settings = {**acting.metadata.environment, "task": acting.metadata.task}
        return settings, widest_layer(acting.metadata.network)
    return None, 0


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
