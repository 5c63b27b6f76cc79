"""The analysis file: tidy rows and per-unit arrays, assembled from parts."""

from probe.results.reading import Analysis, open_analysis
from probe.results.rows import COLUMNS, Row
from probe.results.writing import write_analysis

__all__ = ["COLUMNS", "Analysis", "Row", "open_analysis", "write_analysis"]
