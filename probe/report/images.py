"""Figures as bytes of a file, and as a picture inside a web page."""

import io
import re
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.figure import Figure

from probe.figures import Material, NothingToDraw, ReportFigure, Settings, Style
from probe.figures.style import GRID, INK, PAPER

DPI = 300
"""Dots an inch of a PNG."""
# Equal input gives equal bytes: no date, no version of the writer.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": "plasticity-probe"},
    "svg": {"Date": None, "Creator": "plasticity-probe"},
}
_ON_PAGE = {INK: "currentColor", PAPER: "var(--paper)", GRID: "var(--grid)", "#0072B2": "var(--blue)"}


@dataclass(frozen=True)
class Drawn:
    """One figure of a report."""

    file: str
    """Name of its files, without the ending."""
    kind: type[ReportFigure]
    view: str
    """Name of the observation set; empty where there is only one, or none."""
    images: dict[str, bytes]
    """By format: those asked for."""
    inline: str
    """SVG for a web page, in the reader's colours; empty if no page was asked for."""


@dataclass(frozen=True)
class Skipped:
    """A figure that could not be drawn, and why."""

    kind: type[ReportFigure]
    view: str
    reason: str


def render(
    kind: type[ReportFigure],
    material: Material,
    style: Style,
    settings: Settings,
    formats: frozenset[str],
    file: str,
    view: str,
) -> Drawn | Skipped:
    """Draws a figure and turns it into bytes.

    Args:
        kind: The figure.
        material: What to draw.
        style: Sizes.
        settings: The reader's choices.
        formats: Of `png`, `svg`, `pdf` and `html`.
        file: Name of its files, without the ending.
        view: Name of the observation set.
    """
    with rc_context(style.parameters()):
        try:
            figure = kind().draw(material, style, settings)
        except NothingToDraw as reason:
            return Skipped(kind, view, str(reason))
        images = {name: _bytes(figure, name, PAPER) for name in _METADATA if name in formats}
        inline = _inline(_bytes(figure, "svg", "none").decode(), file, kind) if "html" in formats else ""
    return Drawn(file, kind, view, images, inline)


def _bytes(figure: Figure, name: str, background: str) -> bytes:
    buffer = io.BytesIO()
    # "white" and not PAPER in files: paper is a shade off white only so that the page can find it.
    face = "white" if background == PAPER else background
    figure.savefig(buffer, format=name, dpi=DPI, facecolor=face, metadata=_METADATA[name])
    return buffer.getvalue()


def _inline(svg: str, file: str, kind: type[ReportFigure]) -> str:
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', body)
    inside = body[body.index(">") + 1 :].replace("xlink:href", "href")
    # Several pictures share one page: their ids must differ.
    inside = re.sub(r'\bid="', f'id="{file}-', inside)
    inside = re.sub(r'(href="#|url\(#)', rf"\g<1>{file}-", inside)
    for colour, on_page in _ON_PAGE.items():
        inside = re.sub(colour, on_page, inside, flags=re.IGNORECASE)
    return f'<svg role="img" aria-label="{kind.title}" viewBox="{box[1] if box else ""}">{inside.strip()}'
