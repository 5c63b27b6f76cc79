"""Checkpoint series x observation sets x probes -> an analysis file, with one forward pass per checkpoint and set."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from probe.capture import Activations
from probe.checkpoints import Series, open_series
from probe.errors import ConfigurationError
from probe.matched import open_data
from probe.planning import Plan, plan
from probe.probes.base import Probe, probe_class, registry
from probe.results import Analysis

__all__ = ["Plan", "analyze", "choose_probes", "plan", "select_checkpoints"]


def analyze(
    series: Sequence[str | Path] | str | Path,
    data: Sequence[str | Path] | str | Path,
    out: str | Path | None = None,
    probes: Sequence[str | Probe] = ("default",),
    workers: int = 1,
    activations: Activations | None = None,
) -> Analysis:
    """Runs probes over checkpoint series and returns the opened analysis file.

    >>> analyze("runs/demo", "observations.h5").to_pandas(metric="fau", aggregation="micro")  # doctest: +SKIP

    Args:
        series: Run folders, folders of checkpoints, globs or files.
        data: Observation sets (HDF5) that `probe collect` wrote, or folders with one for each checkpoint.
        out: The analysis file to write or extend; None: a temporary one, which goes with the results.
        probes: Probe names, `default`, `all`, or probes with parameters of their own.
        workers: Processes that measure checkpoints side by side.
        activations: Declared nonlinearities, such as {"torch.clamp": "relu"}; see `probe.capture.declared`.

    Raises:
        ProbeError: the input is at fault; the message says how.
    """
    if out is None:
        folder = TemporaryDirectory(prefix="probe-")
        analysis = analyze(series, data, Path(folder.name) / "analysis.h5", probes, workers, activations)
        analysis.folder = folder
        return analysis
    paths = [series] if isinstance(series, str | Path) else series
    sets = [data] if isinstance(data, str | Path) else data
    opened = [open_data(each) for each in sets]
    chosen = choose_probes(probes)
    return plan(open_series(list(paths)), opened, Path(out), chosen, activations=activations).complete(workers)


def choose_probes(names: Sequence[str | Probe]) -> list[Probe]:
    """Turns names (`default`, `costly`, `all`, or a probe's) into probes with their default parameters, once each.

    Raises:
        UnknownNameError: there is no such probe.
    """
    chosen: dict[str, Probe] = {}
    for name in names:
        if isinstance(name, Probe):
            chosen[name.name] = name
        elif name in ("default", "costly", "all"):
            chosen.update({key: cls() for key, cls in registry().items() if name in (cls.cost, "all")})
        else:
            chosen[name] = probe_class(name)()
    return list(chosen.values())


def select_checkpoints(series: Sequence[Series], every: int = 1, steps: tuple[int, int] | None = None) -> list[Series]:
    """Thins series out: every k-th checkpoint and the last within a range of steps; the first stays as the baseline.

    Raises:
        ConfigurationError: `every` is below one, or nothing lies in the range.
    """
    if every < 1:
        raise ConfigurationError(f"--every is {every}; at least 1 is expected.")
    thinned = []
    for each in series:
        inside = [c for c in each.checkpoints if steps is None or steps[0] <= c.step <= steps[1]]
        if not inside:
            last = each.checkpoints[-1].step
            raise ConfigurationError(f"{each.path}: no checkpoint in steps {steps}; its last one is at {last}.")
        kept = {c.step: c for c in (each.checkpoints[0], *inside[::every], inside[-1])}
        ordered = tuple(kept[step] for step in sorted(kept))
        thinned.append(Series(each.path, each.run, each.method, each.seed, ordered))
    return thinned
