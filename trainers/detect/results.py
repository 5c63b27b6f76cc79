"""Arms -> rows of an analysis file, and back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

from probe.assembly import joined_records, merged_arrays, merged_rows
from probe.detection import NAME, Detection, read_detections
from probe.detection.verdict import Comparison
from probe.earlier import existing
from probe.probes.base import Status
from probe.results import Analysis, Row, open_analysis, write_analysis
from probe.results.parts import PartStore
from probe.results.rows import NONE, columns_of
from probe.trainers.detect.design import INJECTED, Design
from probe.trainers.detect.running import ARMS, ArmJob, Point
from probe.versions import package_versions

TABLES = ("checkpoints", "data", "probes", "layers", "examinations", "controls")
_STATES = {"lost": 1.0, "none": 0.0, "undecided": nan}


def stored_arms(out: Path, jobs: Sequence[ArmJob]) -> dict[ArmJob, list[Point]]:
    """Returns what the analysis file holds of the arms already."""
    earlier = existing(out)
    if earlier is None:
        return {}
    with earlier:
        of: dict[tuple[str, str, str, int], list[Point]] = {}
        for row in earlier.row_list():
            if row.probe == NAME and row.draw != NONE and not row.metric.endswith("_difference"):
                value = None if isnan(row.value) else row.value
                point = Point(row.metric, row.step, value, row.status, row.samples)  # type: ignore[arg-type]
                of.setdefault((row.checkpoint, row.data, row.arm, row.draw), []).append(point)
    found = {job: of.get((job.checkpoint, job.design.digest, job.arm, job.seed)) for job in jobs}
    return {job: points for job, points in found.items() if points}


def write_detections(
    out: Path, arms: Mapping[ArmJob, Sequence[Point]], descriptions: Mapping[str, Mapping[str, Any]]
) -> Analysis:
    """Writes arms and what they come to into the analysis file, an existing one extended, and removes their parts.

    Args:
        out: The file.
        arms: All arms of the detections, those that the file holds among them.
        descriptions: What the table `checkpoints` says of each fork, by its digest.

    Raises:
        FileError: the file cannot be written.
    """
    earlier = existing(out)
    rows: list[Row] = []
    held = [] if earlier is None else earlier.row_list()
    stored = [row for row in held if row.probe == NAME and row.draw != NONE]
    designs = {job.design.digest: job.design for job in arms}
    for digest, description in descriptions.items():
        for design in designs.values():
            made = _Maker(description, design)
            own = [job for job in arms if (job.checkpoint, job.design) == (digest, design)]
            of_arms = [made.row(job.arm, job.seed, point) for job in own for point in arms[job]]
            # Pairs that the file holds beside those asked for now count too.
            whole = [row for row in stored if (row.checkpoint, row.data) == (digest, design.digest)] + of_arms
            detections = read_detections(columns_of(whole), [design.record])
            rows += [*of_arms, *(row for each in detections for row in made.comparisons(each))]
    new: dict[str, list[dict[str, Any]]] = {
        "checkpoints": [dict(each) for each in descriptions.values()],
        "probes": [each.record for each in designs.values()],
    }
    tables = {name: joined_records(name, earlier, new.get(name, [])) for name in TABLES}
    arrays = merged_arrays(earlier, {}, [], {})
    activations = {} if earlier is None else earlier.activations
    write_analysis(out, merged_rows(earlier, rows), tables, arrays, package_versions(), activations)
    if earlier is not None:
        earlier.close()
    PartStore(out, ARMS).remove([job.key for job in arms])
    return open_analysis(out)


@dataclass(frozen=True)
class _Maker:
    """Makes the rows of one detection."""

    description: Mapping[str, Any]
    design: Design

    def comparisons(self, detection: Detection) -> Iterator[Row]:
        """Yields what the arms beside the reference come to, and the verdict."""
        end = detection.step + detection.budget
        for arm in detection.values:
            for each in detection.comparisons(arm) if arm != detection.reference else ():
                name = each.measure.name
                for draw, difference in zip(detection.draws(arm), each.differences, strict=False):
                    yield self._number(arm, draw, f"{name}_difference", end, difference, 1)
                for suffix, value in _summary(each, tested=arm == INJECTED).items():
                    yield self._number(arm, NONE, f"{name}_{suffix}", end, value, each.pairs)
        verdict, pairs = detection.verdict, len(detection.draws(INJECTED))
        yield self._number(INJECTED, NONE, "verdict", end, _STATES[verdict.state], pairs)
        yield self._number(INJECTED, NONE, "more_seeds_needed", end, float(verdict.more), pairs)

    def row(self, arm: str, draw: int, point: Point) -> Row:
        """Makes the row of a number; `draw` is the pair's seed, -1 for all together."""
        facts, placement = self.description, self.design.placement
        return Row(
            run=facts["run"],
            method=facts["method"],
            seed=facts["seed"],
            task=facts["task"],
            step=point.step,
            reference_step=facts["step"],
            arm=arm,
            draw=draw,
            checkpoint=facts["digest"],
            data=self.design.digest,
            module=placement.module,
            layer=placement.cut,
            probe=NAME,
            metric=point.metric,
            aggregation="none",
            value=nan if point.value is None else float(point.value),
            status=point.status,
            samples=point.samples,
            units=0,
            threshold=nan,
        )

    def _number(self, arm: str, draw: int, metric: str, step: int, value: float, samples: int) -> Row:
        unknown = isnan(value)
        status: Status = "low_sample" if unknown else "ok"
        return self.row(arm, draw, Point(metric, step, None if unknown else value, status, samples))


def _summary(comparison: Comparison, tested: bool) -> dict[str, float]:
    summary = {
        "mean_difference": comparison.mean,
        "mean_difference_low": comparison.low,
        "mean_difference_high": comparison.high,
        "effect_size": comparison.effect_size,
    }
    return {**summary, "sign_flip_p": comparison.p} if tested else summary
