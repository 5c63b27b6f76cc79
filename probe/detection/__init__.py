"""What paired arms with and without injection say of a module's plasticity."""

from probe.detection.reading import NAME, Detection, read_detections, settings_digest
from probe.detection.verdict import MEASURES, Comparison, Measure, Verdict, compare, decide

__all__ = [
    "MEASURES",
    "NAME",
    "Comparison",
    "Detection",
    "Measure",
    "Verdict",
    "compare",
    "decide",
    "read_detections",
    "settings_digest",
]
