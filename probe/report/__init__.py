"""A report: figures, a web page and tables of analyses and training logs, in a folder of their own."""

from probe.report.assembly import FORMATS, Report, write_report
from probe.report.overview import Entry, overview
from probe.report.sources import open_material

__all__ = ["FORMATS", "Entry", "Report", "open_material", "overview", "write_report"]
