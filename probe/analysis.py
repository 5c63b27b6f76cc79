"""Checkpoint series x observation sets x probes -> an analysis file, with one forward pass per checkpoint and set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.checkpoints import Series, open_series
from probe.checkpoints.base import Checkpoint
from probe.errors import ConfigurationError, FileError
from probe.execution import run
from probe.measurement import Measurement, WorkItem, measure
from probe.observations import ObservationSet, open_observations
from probe.probes.base import Probe, probe_class, registry
from probe.readings import Context, rows_of_checkpoint, rows_of_pair
from probe.results import Analysis, Row, open_analysis, write_analysis
from probe.results.parts import PartStore
from probe.results.tables import data_record, layer_records, probe_record

_IDENTITY = {
    "checkpoints": ("digest",),
    "data": ("digest",),
    "probes": ("name", "version", "parameters"),
    "layers": ("checkpoint", "data", "layer"),
}


@dataclass(frozen=True)
class Plan:
    """What an analysis will do: which work items are new, which results an earlier run left."""

    series: Sequence[Series]
    data: Sequence[ObservationSet]
    probes: Sequence[Probe]
    out: Path
    layers: Sequence[str]
    items: Sequence[WorkItem]
    """The forward passes that are still to be made."""
    samples: int | None

    def measure(self, workers: int = 1) -> Iterator[WorkItem]:
        """Makes the missing forward passes; yields each item when its part is written."""
        yield from run(measure, self.items, workers)

    def assemble(self) -> Analysis:
        """Reads every probe, writes the analysis file and removes the parts.

        Raises:
            FileError: the file cannot be written.
        """
        earlier = _existing(self.out)
        measured = {
            (checkpoint.digest, data.digest): self._measurement(checkpoint, data, earlier)
            for series in self.series
            for checkpoint in series.checkpoints
            for data in self.data
        }
        rows = _merged(earlier, self._rows(measured))
        tables = _tables(earlier, self.series, self.data, self.probes, measured)
        arrays = {key: measurement.arrays(self.probes) for key, measurement in measured.items()}
        write_analysis(self.out, rows, tables, _all_arrays(earlier, arrays), package_versions())
        if earlier is not None:
            earlier.close()
        PartStore(self.out).clear()
        return open_analysis(self.out)

    def _measurement(self, checkpoint: Checkpoint, data: ObservationSet, earlier: Analysis | None) -> Measurement:
        item = WorkItem(checkpoint, data.path, data.digest, self.samples, self.out)
        found = Measurement.from_part(item) or _stored(checkpoint, data, earlier, self.samples)
        if found is None:
            raise FileError(f"{self.out}.parts: the part of {checkpoint.path} is gone. Run `probe analyze` again.")
        return found

    def _rows(self, measured: dict[tuple[str, str], Measurement]) -> list[Row]:
        rows: list[Row] = []
        for series in self.series:
            for data in self.data:
                history = [(checkpoint, measured[checkpoint.digest, data.digest]) for checkpoint in series.checkpoints]
                for index, (checkpoint, measurement) in enumerate(history):
                    rows += self._rows_at(checkpoint, data, measurement)
                    for reference in {0: history[0], index - 1: history[index - 1]}.values() if index else ():
                        rows += self._rows_between(reference, (checkpoint, measurement), data)
        return rows

    def _rows_at(self, checkpoint: Checkpoint, data: ObservationSet, measurement: Measurement) -> list[Row]:
        context = Context(checkpoint.description, checkpoint.digest, data.digest, checkpoint.modules)
        present = {checkpoint.modules.module_of(layer) for layer in measurement.statistics}
        empty = [name for name in checkpoint.modules.names if name not in present]
        return rows_of_checkpoint(context, self.probes, measurement.statistics, measurement.chosen(self.layers), empty)

    def _rows_between(
        self, earlier: tuple[Checkpoint, Measurement], later: tuple[Checkpoint, Measurement], data: ObservationSet
    ) -> list[Row]:
        checkpoint, measurement = later
        context = Context(checkpoint.description, checkpoint.digest, data.digest, checkpoint.modules, earlier[0].step)
        return rows_of_pair(context, self.probes, earlier[1].chosen(self.layers), measurement.chosen(self.layers))


def plan(
    series: Sequence[Series],
    data: Sequence[ObservationSet],
    out: Path,
    probes: Sequence[Probe],
    layers: Sequence[str] = ("*",),
    samples: int | None = None,
) -> Plan:
    """Decides what is new: work that parts or an earlier analysis at `out` hold is not done again.

    Args:
        series: Checkpoint series.
        data: Observation sets; every checkpoint is measured on each.
        out: The analysis file; an existing one is extended.
        probes: The probes to read.
        layers: Glob patterns on layer ids and labels; these layers get rows, modules are averaged over all.
        samples: Observations to use of each set, spread evenly; None: all.

    Raises:
        FileError: `out` is something else than an analysis file.
        ShapeError: an observation set does not fit a network.
    """
    earlier = _existing(out)
    items = []
    for each in series:
        for checkpoint in each.checkpoints:
            for observations in data:
                item = WorkItem(checkpoint, observations.path, observations.digest, samples, out)
                if not item.done and _stored(checkpoint, observations, earlier, samples) is None:
                    checkpoint.prepare(_prototype(observations))
                    items.append(item)
    if earlier is not None:
        earlier.close()
    return Plan(series, data, probes, out, layers, items, samples)


def analyze(
    series: Sequence[str | Path] | str | Path,
    data: Sequence[str | Path] | str | Path,
    out: str | Path,
    probes: Sequence[str | Probe] = ("default",),
    workers: int = 1,
) -> Analysis:
    """Runs probes over checkpoint series and returns the opened analysis file.

    Args:
        series: Run folders, folders of checkpoints, globs or files.
        data: Observation sets (HDF5) that `probe collect` wrote.
        out: The analysis file to write or extend.
        probes: Probe names, `default`, `all`, or probes with parameters of their own.
        workers: Processes that measure checkpoints side by side.

    Raises:
        ProbeError: the input is at fault; the message says how.
    """
    paths = [series] if isinstance(series, str | Path) else series
    sets = [data] if isinstance(data, str | Path) else data
    opened = [open_observations(Path(each)) for each in sets]
    planned = plan(open_series(list(paths)), opened, Path(out), choose_probes(probes))
    for _ in planned.measure(workers):
        pass
    return planned.assemble()


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


def package_versions() -> dict[str, str]:
    """Returns the versions that numbers depend on."""
    names = ("plasticity-probe", "torch", "numpy", "h5py")
    return {"python": python_version(), **{name: version(name) for name in names}}


def _prototype(observations: ObservationSet) -> Tensor:
    shape = observations.observation_shape
    return torch.zeros(1, *shape, dtype=torch.uint8 if len(shape) == 3 else torch.float32)


def _existing(out: Path) -> Analysis | None:
    return open_analysis(out) if out.exists() else None


def _stored(
    checkpoint: Checkpoint, data: ObservationSet, earlier: Analysis | None, samples: int | None
) -> Measurement | None:
    if earlier is None:
        return None
    found = Measurement.from_analysis(earlier, checkpoint.digest, data.digest)
    wanted = data.samples if samples is None else min(samples, data.samples)
    return found if found is not None and found.samples == wanted else None


def _merged(earlier: Analysis | None, rows: list[Row]) -> list[Row]:
    merged = {row.key: row for row in (earlier.row_list() if earlier is not None else [])}
    merged.update({row.key: row for row in rows})
    return list(merged.values())


def _tables(
    earlier: Analysis | None,
    series: Sequence[Series],
    data: Sequence[ObservationSet],
    probes: Sequence[Probe],
    measured: dict[tuple[str, str], Measurement],
) -> dict[str, list[dict[str, Any]]]:
    checkpoints = [checkpoint for each in series for checkpoint in each.checkpoints]
    new = {
        "checkpoints": [{**checkpoint.description, "path": str(checkpoint.path)} for checkpoint in checkpoints],
        "data": [data_record(each) for each in data],
        "probes": [probe_record(each) for each in probes],
        "layers": [
            record
            for checkpoint in checkpoints
            for each in data
            for record in layer_records(checkpoint, each.digest, measured[checkpoint.digest, each.digest])
        ],
    }
    return {name: _union(getattr(earlier, name, []), new[name], _IDENTITY[name]) for name in new}


def _union(old: list[dict[str, Any]], new: list[dict[str, Any]], identity: Sequence[str]) -> list[dict[str, Any]]:
    return list({tuple(record[key] for key in identity): record for record in (*old, *new)}.values())


def _all_arrays(
    earlier: Analysis | None, new: dict[tuple[str, str], dict[str, dict[str, NDArray[np.generic]]]]
) -> Iterator[tuple[str, str, dict[str, dict[str, NDArray[np.generic]]]]]:
    yield from ((checkpoint, data, layers) for (checkpoint, data), layers in new.items())
    if earlier is not None:
        known = dict.fromkeys((each["checkpoint"], each["data"]) for each in earlier.layers)
        for checkpoint, data in known:
            if (checkpoint, data) not in new:
                yield checkpoint, data, earlier.layer_arrays(checkpoint, data)
