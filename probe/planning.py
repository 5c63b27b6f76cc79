"""What an analysis will do, what earlier work it finds, and how parts become the file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from probe.assembly import joined_records, merged_arrays, merged_rows, merged_tables
from probe.capture import Activations, check_activations
from probe.checkpoints import Series
from probe.checkpoints.base import Checkpoint
from probe.earlier import existing, refuse_what_cannot_join
from probe.errors import FileError
from probe.examination import ProbeItem, controls, examine, pass_for, pieces, probe_items, readings_of_text, set_items
from probe.execution import run
from probe.inputs import blank_input
from probe.layers import check_layers, check_modules
from probe.matched import MatchedObservations, refuse_comparisons
from probe.measurement import Measurement, WorkItem
from probe.observations import ObservationSet
from probe.probes.base import Findings, Probe
from probe.readings import Context, rows_of_checkpoint, rows_of_findings, rows_of_pair
from probe.results import Analysis, Row, open_analysis, write_analysis
from probe.results.parts import PartStore
from probe.subject import Point
from probe.versions import package_versions

Key = tuple[str, str]
"""SHA-256 of a checkpoint and of an observation set."""
History = Sequence[tuple[Checkpoint, Measurement]]
"""A series on one observation set, in step order."""


@dataclass(frozen=True)
class Plan:
    """Which work items are new, and which results an earlier run left."""

    series: Sequence[Series]
    data: Sequence[ObservationSet]
    probes: Sequence[Probe]
    out: Path
    layers: Sequence[str]
    samples: int | None
    activations: Activations
    items: Sequence[WorkItem]
    """The forward passes that are still to be made."""
    examinations: Sequence[ProbeItem]
    """Work of probes that need more than the forward pass, and that the analysis file does not hold."""
    kept: Mapping[str, Findings]
    """Controls that the analysis file holds, by the keys of their parts."""

    @property
    def missing(self) -> list[ProbeItem]:
        """The examinations that no part holds either, after the controls that they need."""
        examinations = [item for item in self.examinations if not item.done]
        needed = [item for item in controls(examinations) if not item.done and item.key not in self.kept]
        return needed + examinations

    @cached_property
    def controls(self) -> list[ProbeItem]:
        """What the examinations are compared with."""
        return controls(self.examinations)

    @cached_property
    def shared(self) -> Mapping[WorkItem, Sequence[ProbeItem]]:
        """The missing examinations that the missing forward passes make on the way, by pass."""
        sharing = {piece[0].item: piece for piece in pieces(self.missing) if piece[0].probe.shares_pass}
        return {item: sharing[item] for item in self.items if item in sharing}

    def measure(self, workers: int = 1) -> Iterator[WorkItem]:
        """Makes the missing forward passes; yields each item when its part is written, and those of `shared`."""
        yield from run(pass_for, [(item, self.shared.get(item, ())) for item in self.items], workers)

    def examine(self, workers: int = 1) -> Iterator[ProbeItem]:
        """Runs the missing examinations, after `measure`; yields each item soon after its part is written."""
        missing = self.missing
        for item in self.controls:
            if item.key in self.kept and not item.done:
                item.save(self.kept[item.key])
        # Each stage reads parts of those before: what is compared with controls, what compares sets with their fits.
        for stage in range(3):
            for piece in run(examine, pieces([item for item in missing if item.stage == stage]), workers):
                yield from piece

    def complete(self, workers: int = 1) -> Analysis:
        """Does all the missing work and assembles the file."""
        for stage in (self.measure, self.examine):
            for _ in stage(workers):
                pass
        return self.assemble()

    def assemble(self) -> Analysis:
        """Reads every probe, writes the analysis file and removes the parts.

        Raises:
            FileError: the file cannot be written.
        """
        earlier = existing(self.out)
        measured = {
            (checkpoint.digest, data.digest): self._measurement(checkpoint, data, earlier)
            for series in self.series
            for checkpoint in series.checkpoints
            for data in self.data
        }
        found = {item: self._findings(item) for item in self.examinations}
        rows = [*self._rows(measured), *self._rows_found(found)]
        tables = merged_tables(earlier, self.series, self.data, self.probes, measured, list(found), self.controls)
        arrays = merged_arrays(earlier, measured, self.probes, found)
        write_analysis(self.out, merged_rows(earlier, rows), tables, arrays, package_versions(), self.activations)
        if earlier is not None:
            earlier.close()
        PartStore(self.out).clear()
        return open_analysis(self.out)

    def _measurement(self, checkpoint: Checkpoint, data: ObservationSet, earlier: Analysis | None) -> Measurement:
        item = _work(checkpoint, data, self.samples, self.out, self.activations)
        return Measurement.from_part(item) or _stored(item, data, earlier) or _gone(self.out, checkpoint)

    def _findings(self, item: ProbeItem) -> Findings:
        return item.findings() or _gone(self.out, item.checkpoint)

    def _rows(self, measured: dict[Key, Measurement]) -> list[Row]:
        rows: list[Row] = []
        for series in self.series:
            for data in self.data:
                history = [(checkpoint, measured[checkpoint.digest, data.digest]) for checkpoint in series.checkpoints]
                for index, (checkpoint, measurement) in enumerate(history):
                    rows += self._rows_at(checkpoint, data, measurement)
                    for reference in dict.fromkeys((0, index - 1)) if index else ():
                        rows += self._rows_between(history[reference], history[index], data)
                rows += self._rows_of_series(history, data)
        return rows

    def _rows_at(self, checkpoint: Checkpoint, data: ObservationSet, measurement: Measurement) -> list[Row]:
        present = {checkpoint.modules.module_of(layer) for layer in measurement.statistics}
        empty = [name for name in checkpoint.modules.names if name not in present]
        probes, chosen = self._formulas(), measurement.chosen(self.layers)
        return rows_of_checkpoint(_context(checkpoint, data.digest), probes, measurement.statistics, chosen, empty)

    def _rows_between(
        self, earlier: tuple[Checkpoint, Measurement], later: tuple[Checkpoint, Measurement], data: ObservationSet
    ) -> list[Row]:
        context = _context(later[0], data.digest, earlier[0].step)
        return rows_of_pair(context, self._formulas(), earlier[1].chosen(self.layers), later[1].chosen(self.layers))

    def _rows_of_series(self, history: History, data: ObservationSet) -> list[Row]:
        points = [
            Point(each.step, int(each.description["task"]), each.modules, measurement.statistics)
            for each, measurement in history
        ]
        rows: list[Row] = []
        for probe in self.probes:
            if probe.needs == "series":
                for (checkpoint, measurement), found in zip(history, probe.measure_series(points), strict=True):
                    context = _context(checkpoint, data.digest)
                    rows += rows_of_findings(context, probe.name, found, measurement.samples)
        return rows

    def _rows_found(self, found: dict[ProbeItem, Findings]) -> list[Row]:
        rows: list[Row] = []
        for item, findings in found.items():
            reference = -1 if item.earlier is None else item.earlier.step
            data = next(each for each in self.data if each.digest == item.item.data_digest)
            samples = data.samples if self.samples is None else min(self.samples, data.samples)
            rows += rows_of_findings(
                _context(item.checkpoint, data.digest, reference), item.probe.name, findings, samples
            )
        return rows

    def _formulas(self) -> list[Probe]:
        return [probe for probe in self.probes if probe.needs == "activation"]


def plan(
    series: Sequence[Series],
    data: Sequence[ObservationSet],
    out: Path,
    probes: Sequence[Probe],
    layers: Sequence[str] = ("*",),
    samples: int | None = None,
    activations: Activations | None = None,
) -> Plan:
    """Decides what is new: work that parts or an earlier analysis at `out` hold is not done again.

    Args:
        series: Checkpoint series.
        data: Observation sets; every checkpoint is measured on each, and probes that compare sets get all of them. Of
            matched ones each checkpoint gets its own; there, nothing compares networks on the same observations.
        out: The analysis file; an existing one is extended.
        probes: The probes to read.
        layers: Glob patterns on layer ids and labels; these layers get rows, modules are averaged over all.
        samples: Observations to use of each set, spread evenly; None: all.
        activations: Declared nonlinearities; see `probe.capture.declared`.

    Raises:
        FileError: `out` is something else than an analysis file.
        ShapeError: an observation set does not fit a network.
        UnknownNameError: a declaration names an unknown nonlinearity.
        ConfigurationError: a declaration, a pattern of layers, or what a user said of modules, matches nothing; or
            `out` was made with other declarations; or a probe compares networks on the same observations, and there are
            matched ones only.
    """
    declared = dict(sorted((activations or {}).items()))
    if declared:
        check_activations(declared, [each.checkpoints[0].network() for each in series])
    earlier = existing(out)
    if earlier is not None:
        refuse_what_cannot_join(earlier, series, declared)
    refuse_comparisons(probes, data)
    items: list[WorkItem] = []
    examinations: list[ProbeItem] = []
    for observations in data:
        starts = [(each.checkpoints[0], blank_input(each.checkpoints[0], observations)) for each in series]
        check_modules(starts)
        check_layers(layers, starts, declared)
    ordered = sorted(data, key=lambda observations: (observations.task, observations.digest))
    for each in series:
        by_set: list[list[WorkItem]] = []
        for observations in ordered:
            work = [_work(checkpoint, observations, samples, out, declared) for checkpoint in each.checkpoints]
            for item in work:
                blank_input(item.checkpoint, observations)
            items += [item for item in work if not item.done and _stored(item, observations, earlier) is None]
            pooled = not isinstance(observations, MatchedObservations)
            compared = [probe for probe in probes if pooled or probe.needs != "pair"]
            examinations += [item for probe in compared for item in probe_items(probe, work)]
            by_set += [work] if pooled else []
        examinations += [item for probe in probes for item in set_items(probe, by_set)]
    known = [] if earlier is None else joined_records("examinations", earlier, [])
    kept = {} if earlier is None else {each["key"]: readings_of_text(each["readings"]) for each in earlier.controls}
    if earlier is not None:
        earlier.close()
    new = [item for item in examinations if item.identity not in known]
    return Plan(series, data, probes, out, layers, samples, declared, items, new, kept)


def _work(
    checkpoint: Checkpoint, data: ObservationSet, samples: int | None, out: Path, activations: Activations
) -> WorkItem:
    return WorkItem(checkpoint, data, data.digest, samples, out, tuple(activations.items()))


def _stored(item: WorkItem, data: ObservationSet, earlier: Analysis | None) -> Measurement | None:
    if earlier is None:
        return None
    found = Measurement.from_analysis(earlier, item.checkpoint.digest, item.data_digest)
    wanted = data.samples if item.samples is None else min(item.samples, data.samples)
    return found if found is not None and found.samples == wanted else None


def _context(checkpoint: Checkpoint, data: str, reference_step: int = -1) -> Context:
    return Context(checkpoint.description, checkpoint.digest, data, checkpoint.modules, reference_step)


def _gone(out: Path, checkpoint: Checkpoint) -> NoReturn:
    raise FileError(f"{out}.parts: the part of {checkpoint.path} is gone. Run `probe analyze` again.")
