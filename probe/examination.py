"""Work items of an analysis beyond its forward pass: one probe on one checkpoint, on two, or on several sets."""

import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from probe.checkpoints.base import Checkpoint
from probe.errors import FileError
from probe.measurement import Measurement, WorkItem, measure, unmeasured
from probe.pairs import ReadsPair, share_pair
from probe.passes import adopt, share_pass
from probe.probes.base import Arrays, Finding, Findings, Probe, Reading
from probe.results import open_analysis
from probe.results.parts import PartStore
from probe.results.writing import KEY_LENGTH
from probe.subject import Subject

_SEPARATOR = "/"


@dataclass(frozen=True)
class ProbeItem:
    """A probe to run at a checkpoint, between an earlier one and this one, or over several observation sets.

    Plain data that travels to processes.
    """

    probe: Probe
    item: WorkItem
    """The checkpoint, the observation set and where parts go."""
    earlier: Checkpoint | None = None
    others: tuple[WorkItem, ...] = ()
    """The same checkpoint on the sets that come before the item's, in the order of their task indices."""
    control: str = ""
    """The control's own key, where this is what checkpoints are compared with."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The later checkpoint of a pair, or the only one."""
        return self.item.checkpoint

    @property
    def stage(self) -> int:
        """After whose parts this can be done: 0 controls, 1 what is measured on one set, 2 what compares sets."""
        return 0 if self.control else 2 if self.probe.needs == "sets" else 1

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this work itself: it is not done again."""
        return {
            "checkpoint": self.control or self.item.checkpoint.digest,
            "data": self.item.data_digest,
            "reference": self._reference,
            "probe": self.probe.name,
            "version": self.probe.version,
            "parameters": parameters_of(self.probe),
            "samples": -1 if self.item.samples is None else self.item.samples,
        }

    @property
    def _reference(self) -> str:
        """The digest of what this checkpoint on its set is compared with: an earlier checkpoint, or the other sets."""
        compared = [each.data_digest for each in self.others] if self.earlier is None else [self.earlier.digest]
        return "+".join(compared)

    @property
    def key(self) -> str:
        """The part's name."""
        whole = {**self.identity, "activations": self.item.activations}
        digest = sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]
        return f"{self.probe.name}-{digest}"

    @property
    def done(self) -> bool:
        """Whether the part is there, whole."""
        return PartStore(self.item.out).load(self.key) is not None

    def findings(self) -> Findings | None:
        """Reads the part that `examine` wrote; None where there is none."""
        part = PartStore(self.item.out).load(self.key)
        if part is None:
            return None
        stored, described = part
        arrays: Arrays = {}
        for name, array in stored.items():
            layer, _, key = name.rpartition(_SEPARATOR)
            arrays.setdefault(layer, {})[key] = array
        return Findings([_finding(each) for each in described["readings"]], arrays)

    def save(self, found: Findings) -> None:
        """Writes the part."""
        arrays = {
            f"{layer}{_SEPARATOR}{name}": np.asarray(array)
            for layer, named in found.arrays.items()
            for name, array in named.items()
        }
        PartStore(self.item.out).save(self.key, arrays, {"readings": [asdict(each) for each in found.readings]})


Piece = tuple[ProbeItem, ...]
"""Items that are done together: those of one checkpoint, or of one pair, and set that share a pass, or a single one."""


def parameters_of(probe: Probe) -> str:
    """Returns a probe's parameters as JSON."""
    return json.dumps(asdict(probe), sort_keys=True)  # type: ignore[call-overload]  # every probe is a dataclass


def pieces(items: Sequence[ProbeItem]) -> list[Piece]:
    """Groups items by what is done together, in the order of their first ones."""
    groups: dict[Hashable, list[ProbeItem]] = {}
    for each in items:
        of_pair = isinstance(each.probe, ReadsPair) and each.earlier is not None
        of_one = each.probe.shares_pass and each.earlier is None
        groups.setdefault((each.item, each.earlier) if of_pair or of_one else each, []).append(each)
    return [tuple(group) for group in groups.values()]


def pass_for(work: tuple[WorkItem, Sequence[ProbeItem]]) -> WorkItem:
    """Measures a checkpoint; the probes of a piece share its pass. Writes the parts of all.

    Raises:
        ProbeError: checkpoint or observations cannot be read.
    """
    item, piece = work
    shared = measure(item, [each.probe for each in piece])
    if piece:
        subject = subject_of(item)
        adopt(subject, shared)
        for each in piece:
            each.save(_found(each, subject))
    return item


def examine(piece: Piece) -> Piece:
    """Runs the probes of a piece and writes the part of each one's findings.

    Raises:
        ProbeError: checkpoint or observations cannot be read.
    """
    subject = subject_of(piece[0].item)
    if piece[0].probe.shares_pass:
        share_pass(subject, [each.probe for each in piece])
    reference = piece[0].earlier
    earlier = None if reference is None else subject_of(replace(piece[0].item, checkpoint=reference))
    reading = [each.probe for each in piece if isinstance(each.probe, ReadsPair)]
    if earlier is not None and reading:
        share_pair(earlier, subject, reading)
    for each in piece:
        each.save(_found(each, subject, earlier))
    return piece


def controls(items: Sequence[ProbeItem]) -> list[ProbeItem]:
    """Returns what items are compared with: once for a series, and for series that have the same control."""
    firsts: dict[Hashable, ProbeItem] = {}
    for each in items:
        if type(each.probe).controls is not Probe.controls:
            firsts.setdefault((each.probe, each.item.data_digest, each.checkpoint.path.parent), each)
    found: dict[str, ProbeItem] = {}
    for each in firsts.values():
        sets = {item.data_digest: item for item in (*each.others, each.item)}
        subjects = {unmeasured(item): item for item in sets.values()}
        for probe, subject in each.probe.controls(list(subjects)):
            key = probe.control_key(subject)
            if key is not None:
                control = ProbeItem(probe, subjects[subject], control=key)
                found.setdefault(control.key, control)
    return list(found.values())


def _found(each: ProbeItem, subject: Subject, earlier: Subject | None = None) -> Findings:
    if each.control:
        return each.probe.measure_control(subject)
    if each.probe.needs == "sets":
        return each.probe.measure_sets([*(subject_of(other) for other in each.others), subject])
    return each.probe.measure(subject) if earlier is None else each.probe.measure_pair(earlier, subject)


def subject_of(item: WorkItem) -> Subject:
    """Returns a checkpoint as its probes see it.

    Raises:
        FileError: the part of its forward pass is gone.
    """
    measured = measurement_of(item)
    if measured is None:
        raise FileError(f"{item.out}.parts: the part of {item.checkpoint.path} is gone. Run `probe analyze` again.")

    def control(subject: Subject, probe: Probe) -> Findings | None:
        key = probe.control_key(subject)
        if key is None:
            return None
        own = ProbeItem(probe, item, control=key)
        if not own.done:  # a series whose architecture changes on the way has more controls than `controls` knew
            own.save(probe.measure_control(subject))
        return own.findings()

    declared = dict(item.activations)
    data = item.data.of(item.checkpoint.digest)
    return Subject(
        *(item.checkpoint, data, measured.statistics, measured.layers, item.samples, declared, control),
        known=lambda probe: ProbeItem(probe, item).findings(),
    )


def measurement_of(item: WorkItem) -> Measurement | None:
    """Returns what the forward pass left, in a part or in the analysis file; None before it."""
    measured = Measurement.from_part(item)
    if measured is None and item.out.exists():
        with open_analysis(item.out) as analysis:
            measured = Measurement.from_analysis(analysis, item.checkpoint.digest, item.data_digest)
    return measured


def readings_as_text(found: Findings) -> str:
    """Returns the readings as JSON, without the arrays."""
    return json.dumps([asdict(each) for each in found.readings])


def readings_of_text(text: str) -> Findings:
    """Reads what `readings_as_text` wrote."""
    return Findings([_finding(each) for each in json.loads(text)])


def _finding(stored: dict[str, Any]) -> Finding:
    return Finding(**{**stored, "reading": Reading(**stored["reading"])})


def probe_items(probe: Probe, items: list[WorkItem]) -> Iterator[ProbeItem]:
    """Yields the work of one probe on one series and observation set, whose items are in step order.

    Pairs are those of the contract: every checkpoint with the first and with the one before it.
    """
    if probe.needs in ("weights", "gradient", "network"):
        yield from (ProbeItem(probe, item) for item in items)
    elif probe.needs == "pair":
        for index in range(1, len(items)):
            for reference in dict.fromkeys((0, index - 1)):
                yield ProbeItem(probe, items[index], items[reference].checkpoint)


def set_items(probe: Probe, by_set: Sequence[Sequence[WorkItem]]) -> Iterator[ProbeItem]:
    """Yields the work of one probe that compares observation sets, on one series: one item a checkpoint.

    Args:
        probe: The probe.
        by_set: The items of each set, in step order; sets in the order of their task indices.
    """
    if probe.needs == "sets":
        for *others, last in zip(*by_set, strict=True):
            yield ProbeItem(probe, last, others=tuple(others))
