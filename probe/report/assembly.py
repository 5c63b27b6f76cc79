"""Draws the figures and writes the folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from probe.errors import FileError, UnknownNameError
from probe.figures import Material, ReportFigure, Settings, figure_class, figure_classes, style
from probe.report.folder import check_folder, write_folder
from probe.report.images import Drawn, Skipped, render
from probe.report.overview import Entry, overview
from probe.report.page import page
from probe.report.recovery import recovery_as_csv
from probe.report.tables import overview_as_latex
from probe.results.tabular import rows_as_csv

FORMATS = ("png", "svg", "pdf", "html", "csv", "tex")
_PICTURES = frozenset({"png", "svg", "pdf", "html"})


@dataclass(frozen=True)
class Report:
    """What was written."""

    out: Path
    files: tuple[str, ...]
    """Relative to `out`."""
    entries: tuple[Entry, ...]
    drawn: tuple[Drawn, ...]
    skipped: tuple[Skipped, ...]


def write_report(
    material: Material,
    out: Path,
    formats: Sequence[str] = FORMATS[:-1],
    figures: Sequence[str] = (),
    style_name: str = "paper",
    settings: Settings | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Draws a report into a folder, whole or not at all.

    Args:
        material: Analyses and logs, as `open_material` reads them.
        out: Folder to write: new, empty, or an earlier report, which is replaced.
        formats: Of `FORMATS`.
        figures: Names of figures; empty for all.
        style_name: `paper` or `slides`.
        settings: The reader's choices.
        advance: Called after every figure.

    Raises:
        UnknownNameError: a format, figure, style or layer that does not exist.
        FileError: `out` holds something else, or cannot be written; or there is nothing to write.
    """
    asked = _check_formats(formats)
    kinds = [figure_class(name) for name in figures] or list(figure_classes().values())
    look, chosen = style(style_name), settings or Settings()
    material.layer(chosen.layer)
    check_folder(out)
    drawn: list[Drawn] = []
    skipped: list[Skipped] = []
    for kind, name, view, file in _plan(material, kinds) if asked & _PICTURES else []:
        result = render(kind, view, look, chosen, asked, file, name)
        drawn += [result] if isinstance(result, Drawn) else []
        skipped += [result] if isinstance(result, Skipped) else []
        advance()
    if asked & _PICTURES and not drawn:
        raise FileError(f"There is nothing to draw. {skipped[0].reason}")
    entries = overview(material)
    files = _files(material, asked, entries, drawn, skipped)
    about = {"figures": [each.file for each in drawn], "inputs": _inputs(material)}
    write_folder(out, files, about)
    return Report(out, tuple(files), tuple(entries), tuple(drawn), tuple(skipped))


def _check_formats(formats: Sequence[str]) -> frozenset[str]:
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
    return frozenset(formats)


def _plan(
    material: Material, kinds: Sequence[type[ReportFigure]]
) -> list[tuple[type[ReportFigure], str, Material, str]]:
    """Returns (figure, name of the view, view, name of the file): figures of analyses once an observation set."""
    views = material.views()
    many = len(views) > 1
    plan = []
    for kind in kinds:
        of_kind = views if kind.reads == "analyses" else {"": material}
        for index, (name, view) in enumerate(of_kind.items(), start=1):
            suffix = f"-{index}" if len(of_kind) > 1 else ""
            plan.append((kind, name if many else "", view, kind.name + suffix))
    return plan


def _files(
    material: Material, asked: frozenset[str], entries: list[Entry], drawn: list[Drawn], skipped: list[Skipped]
) -> dict[str, bytes]:
    files = {f"figures/{each.file}.{name}": content for each in drawn for name, content in each.images.items()}
    if "html" in asked:
        files["index.html"] = page(material, entries, drawn, skipped, _versions(material)).encode()
    if "csv" in asked and material.analyses:
        files["rows.csv"] = rows_as_csv(material.analyses).encode()
    if "csv" in asked and (text := recovery_as_csv(material)):
        files["recovery.csv"] = text.encode()
    if "tex" in asked and entries:
        files["overview.tex"] = overview_as_latex(entries).encode()
    if not files:
        raise FileError("There is nothing to write: CSV needs an analysis (`probe analyze`). Ask for html or png.")
    return files


def _inputs(material: Material) -> list[str]:
    return [*(str(analysis.path) for analysis in material.analyses), *(str(log.path) for log in material.logs)]


def _versions(material: Material) -> Mapping[str, str]:
    """Returns the versions the analyses were made with, and of what draws."""
    found = {name: number for analysis in material.analyses for name, number in analysis.versions.items()}
    for name in ("plasticity-probe", "matplotlib"):
        try:
            found[f"{name} (this report)"] = version(name)
        except PackageNotFoundError:  # a source tree that is not installed
            continue
    return found
