"""What figures are drawn from: analyses and training logs, by series, in one vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.errors import UnknownNameError
from probe.figures.curves import Curve, curve_of
from probe.figures.logs import TrainingLog
from probe.figures.names import layer_name, method_name
from probe.modules import FROZEN
from probe.results import Analysis

Key = tuple[str, str]
"""(run, method): the seeds of one key are repetitions of one series."""


@dataclass(frozen=True)
class LayerEntry:
    """A layer as every series of the material has it."""

    label: str
    module: str
    units: int

    @property
    def name(self) -> str:
        """What a person calls it."""
        return layer_name(self.label)


@dataclass(frozen=True)
class Snapshot:
    """One checkpoint on one observation set, with access to its arrays."""

    analysis: Analysis = field(repr=False)
    series: str
    seed: int
    step: int
    checkpoint: str
    data: str
    layers: Mapping[str, str] = field(repr=False)
    """Layer id by label."""

    def array(self, label: str, name: str) -> NDArray[Any] | None:
        """Returns a layer's array such as `mean_abs` (unit,); None where it was not measured or is not finite."""
        if label not in self.layers:
            return None
        try:
            values = self.analysis.array(self.checkpoint, self.data, self.layers[label], name)
        except KeyError:
            return None
        return values if values.size and np.isfinite(values).all() else None


@dataclass(frozen=True)
class Material:
    """Analyses and logs; `data` narrows the analyses to some observation sets."""

    analyses: tuple[Analysis, ...] = ()
    logs: tuple[TrainingLog, ...] = ()
    data: frozenset[str] | None = None

    @cached_property
    def series(self) -> Mapping[Key, str]:
        """Returns the name of every series, the baseline first; the run is named where two share a method."""
        keys: list[Key] = [(run, method) for analysis in self.analyses for run, method, _ in analysis.series()]
        keys += [(log.run, log.method) for log in self.logs]
        ordered = sorted(dict.fromkeys(keys), key=lambda key: key[1] != "baseline")
        methods = [method for _, method in ordered]
        return {key: _series_name(key, methods.count(key[1]) > 1) for key in ordered}

    @cached_property
    def layers(self) -> tuple[LayerEntry, ...]:
        """Every layer in call order, without those of frozen copies."""
        entries = [entry for analysis in self.analyses for entry in analysis.layers if entry["module"] != FROZEN]
        ordered = sorted(entries, key=lambda entry: int(entry["position"]))
        found: dict[str, LayerEntry] = {}
        for entry in ordered:
            found.setdefault(entry["label"], LayerEntry(entry["label"], entry["module"], int(entry["units"])))
        return tuple(found.values())

    def layer(self, wanted: str | None) -> LayerEntry | None:
        """Returns a layer by label, human name or id; for None the encoder's last, or the last of all.

        Raises:
            UnknownNameError: no layer has that name.
        """
        if wanted is None:
            encoder = [entry for entry in self.layers if entry.module == "encoder"]
            last: tuple[LayerEntry | None, ...] = (None, *(encoder or self.layers))
            return last[-1]
        ids = {entry["layer"]: entry["label"] for analysis in self.analyses for entry in analysis.layers}
        for entry in self.layers:
            if wanted in (entry.label, entry.name) or ids.get(wanted) == entry.label:
                return entry
        raise UnknownNameError("layer", wanted, [entry.name for entry in self.layers])

    def curves(
        self,
        probe: str,
        metric: str,
        aggregation: str,
        *,
        module: str | None = None,
        label: str | None = None,
        threshold: float | None = None,
    ) -> list[Curve]:
        """Returns a metric per series and seed; empty where it was never measured or never applied.

        Args:
            probe: name of the probe.
            metric: name of the metric.
            aggregation: layer, micro or macro.
            module: the module of an average.
            label: the layer, by label.
            threshold: the metric's threshold where it has one.
        """
        points: dict[tuple[Key, int], dict[int, tuple[float, str]]] = {}
        for analysis in self.analyses:
            rows = analysis.select(probe=probe, metric=metric, aggregation=aggregation, reference_step=-1, draw=-1)
            chosen = self._in_view(rows) & _matches(rows, module, threshold)
            if label is not None:
                chosen &= np.isin(rows["layer"], [e["layer"] for e in analysis.layers if e["label"] == label])
            for index in np.flatnonzero(chosen & (rows["status"] != "not_applicable")):
                key = (str(rows["run"][index]), str(rows["method"][index]))
                place = points.setdefault((key, int(rows["seed"][index])), {})
                place.setdefault(int(rows["step"][index]), (float(rows["value"][index]), str(rows["status"][index])))
        order = list(self.series)
        return [
            curve_of(self.series[key], seed, points[key, seed])
            for key, seed in sorted(points, key=lambda item: (order.index(item[0]), item[1]))
        ]

    def logged(self, metric: str) -> list[Curve]:
        """Returns a column of the training logs per series and seed; steps without a number are left out."""
        order = list(self.series)
        logs = sorted(self.logs, key=lambda log: (order.index((log.run, log.method)), log.seed))
        found = [(log, *log.logged(metric)) for log in logs]
        return [
            Curve(self.series[log.run, log.method], log.seed, steps, values, np.zeros(len(steps), dtype=bool))
            for log, steps, values in found
            if len(steps)
        ]

    def snapshots(self) -> list[Snapshot]:
        """Returns every measured (checkpoint, observation set) once, by series, seed and step."""
        found: dict[tuple[str, str], Snapshot] = {}
        for analysis in self.analyses:
            of = {entry["digest"]: entry for entry in analysis.checkpoints}
            layers: dict[str, dict[str, str]] = {}
            for entry in analysis.layers:
                layers.setdefault(entry["checkpoint"], {})[entry["label"]] = entry["layer"]
            pairs = zip(analysis.rows["checkpoint"], analysis.rows["data"], self._in_view(analysis.rows), strict=True)
            sets = {entry["digest"] for entry in analysis.data}
            measured = ((c, d) for c, d, inside in pairs if inside and c in of and d in sets)
            for checkpoint, data in dict.fromkeys(measured):
                entry = of[checkpoint]
                name = self.series[entry["run"], entry["method"]]
                place = (int(entry["seed"]), int(entry["step"]))
                snapshot = Snapshot(analysis, name, *place, checkpoint, data, layers.get(checkpoint, {}))
                found.setdefault((checkpoint, data), snapshot)
        order = list(self.series.values())
        return sorted(found.values(), key=lambda item: (order.index(item.series), item.seed, item.step))

    def views(self) -> dict[str, "Material"]:
        """Returns one material per observation set, by a name for it; sets matched to checkpoints stay together."""
        tables = [entry for analysis in self.analyses for entry in analysis.data]
        groups: dict[str, list[dict[str, Any]]] = {}
        for entry in {entry["digest"]: entry for entry in tables}.values():
            groups.setdefault("matched" if entry["kind"] == "matched" else entry["digest"], []).append(entry)
        if len(groups) < 2:
            return {_set_name(next(iter(groups.values()), [])): self}
        return {
            _set_name(entries): replace(self, data=frozenset(entry["digest"] for entry in entries))
            for entries in groups.values()
        }

    def _in_view(self, rows: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        if self.data is None:
            return np.ones(len(rows["data"]), dtype=bool)
        return np.isin(rows["data"].astype(str), sorted(self.data))


def _matches(rows: Mapping[str, NDArray[Any]], module: str | None, threshold: float | None) -> NDArray[np.bool_]:
    chosen = rows["module"] != FROZEN
    if module is not None:
        chosen &= rows["module"] == module
    if threshold is not None:
        chosen &= np.isclose(rows["threshold"], threshold, rtol=0, atol=1e-9)
    return np.asarray(chosen, dtype=bool)


def _series_name(key: Key, shared: bool) -> str:
    run, method = key
    if not method:
        return run
    return f"{method_name(method)} ({run})" if shared else method_name(method)


def _set_name(entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return ""
    first = entries[0]
    if first["kind"] == "matched":
        return f"{first['environment']}, each checkpoint's own observations"
    return f"{first['environment']}, {first['samples']:,} observations, {first['digest'][:8]}"
