"""The figures of a report, one a file."""

from probe.figures.base import NothingToDraw, ReportFigure, Settings, figure_class, figure_classes, registry
from probe.figures.material import Material
from probe.figures.style import Style, style

__all__ = [
    "Material",
    "NothingToDraw",
    "ReportFigure",
    "Settings",
    "Style",
    "figure_class",
    "figure_classes",
    "registry",
    "style",
]
