"""Detections in a report: the arms beside each other, and the verdicts."""

from probe.detection import Detection, read_detections
from probe.detection.words import offline_verdicts
from probe.figures import Material


def detections_of(material: Material) -> list[Detection]:
    """Returns every detection of the analyses."""
    return [each for analysis in material.analyses for each in read_detections(analysis.rows, analysis.probes)]


def offline_rows(material: Material) -> dict[str, list[tuple[str, ...]]]:
    """Returns a line a checkpoint that the probe `injection` fitted, by series."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    for each in (verdict for analysis in material.analyses for verdict in offline_verdicts(analysis)):
        rows.setdefault(each.series, []).append(each.cells)
    return rows
