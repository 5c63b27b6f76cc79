"""Merging new results into what an analysis file holds already."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probe.checkpoints import Series
from probe.examination import ProbeItem, readings_as_text
from probe.measurement import Measurement
from probe.observations import ObservationSet
from probe.probes.base import Arrays, Findings, Probe
from probe.results import Analysis, Row
from probe.results.tables import data_record, layer_records, probe_record

_IDENTITY = {
    "checkpoints": ("digest",),
    "data": ("digest",),
    "probes": ("name", "version", "parameters"),
    "layers": ("checkpoint", "data", "layer"),
    # Not its parameters: the rows of other ones have been renewed, so with these it is to be done again.
    "examinations": ("checkpoint", "data", "reference", "probe"),
    "controls": ("key",),
}
"""The fields that make a record of each table itself."""

Records = list[dict[str, Any]]


def merged_rows(earlier: Analysis | None, rows: Sequence[Row]) -> list[Row]:
    """Returns the earlier rows with the new ones in place of those that they renew, and after them."""
    merged = {row.key: row for row in (earlier.row_list() if earlier is not None else [])}
    merged.update({row.key: row for row in rows})
    return list(merged.values())


def merged_tables(
    earlier: Analysis | None,
    series: Sequence[Series],
    data: Sequence[ObservationSet],
    probes: Sequence[Probe],
    measured: Mapping[tuple[str, str], Measurement],
    examined: Sequence[ProbeItem],
    controls: Sequence[ProbeItem],
) -> dict[str, Records]:
    """Returns every small table, earlier records first."""
    checkpoints = [checkpoint for each in series for checkpoint in each.checkpoints]
    new: dict[str, Records] = {
        "checkpoints": [{**checkpoint.description, "path": str(checkpoint.path)} for checkpoint in checkpoints],
        "data": [data_record(each) for each in data],
        "probes": [probe_record(each) for each in probes],
        "layers": [
            record
            for checkpoint in checkpoints
            for each in data
            for record in layer_records(checkpoint, each.digest, measured[checkpoint.digest, each.digest])
        ],
        "examinations": [item.identity for item in examined],
        "controls": [
            {"key": item.key, "readings": readings_as_text(found)} for item in controls if (found := item.findings())
        ],
    }
    return {name: joined_records(name, earlier, new[name]) for name in new}


def joined_records(table: str, earlier: Analysis | None, records: Records) -> Records:
    """Returns a small table's earlier records and the new ones, which take the place of those that they renew."""
    identity = _IDENTITY[table]
    both = (*getattr(earlier, table, []), *records)
    return list({tuple(record[key] for key in identity): record for record in both}.values())


def merged_arrays(
    earlier: Analysis | None,
    measured: Mapping[tuple[str, str], Measurement],
    probes: Sequence[Probe],
    found: Mapping[ProbeItem, Findings],
) -> Iterator[tuple[str, str, Arrays]]:
    """Yields every layer's arrays by checkpoint and observation set; a new array takes an earlier one's place."""
    old = [] if earlier is None else dict.fromkeys((each["checkpoint"], each["data"]) for each in earlier.layers)
    for key in dict.fromkeys((*old, *measured)):
        layers: Arrays = {} if earlier is None else earlier.layer_arrays(*key)
        sources = [measured[key].arrays(probes)] if key in measured else []
        sources += [
            each.arrays for item, each in found.items() if (item.checkpoint.digest, item.item.data_digest) == key
        ]
        for source in sources:
            for layer, arrays in source.items():
                layers.setdefault(layer, {}).update(arrays)
        yield (*key, layers)
