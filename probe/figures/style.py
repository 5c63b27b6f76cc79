"""How figures look: sizes, colours that colour-blind readers can tell apart, line styles and markers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from probe.errors import UnknownNameError

INK = "#222222"
"""Text and axes; the web page replaces it by the reader's own text colour."""
PAPER = "#fefefe"
"""What lies under a figure; the web page replaces it by its own background."""
GRID = "#d9d9d9"
NEUTRAL = "#7f7f7f"
"""The untrained network, and whatever belongs to no method."""

# Okabe & Ito 2008, without black (the ink) and yellow (too pale on white); then two of Matplotlib's own, so that the
# seven methods of `--method all` have a colour each.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#9467BD")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Eight colours, seven markers and five dashes: 280 methods differ in at least one of them.
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1.5, 1)), (0, (8, 2)))


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash of one method, the same in every figure."""

    colour: str
    marker: str
    dash: Any


@dataclass(frozen=True)
class Style:
    """Sizes of a kind of publication."""

    width_cm: float
    """Width of a figure."""
    text: float
    """Size of titles, axis names and legends in points."""
    small: float
    """Size of tick labels and notes in points."""
    line: float
    """Width of a mean line in points."""

    @property
    def scale(self) -> float:
        """How much larger than one column of a paper."""
        return self.width_cm / 8.0

    def size(self, height_cm: float) -> tuple[float, float]:
        """Returns (width, height) in inches of a figure that is `height_cm` high in a paper's column."""
        return self.width_cm / 2.54, height_cm * self.scale / 2.54

    def parameters(self) -> dict[Any, Any]:
        """Returns the matplotlib settings; the bundled font makes figures equal on every machine."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": self.text,
            "axes.titlesize": self.text,
            "axes.labelsize": self.text,
            "xtick.labelsize": self.small,
            "ytick.labelsize": self.small,
            "legend.fontsize": self.text,
            "axes.titlepad": 3.0 * self.scale,
            "axes.labelpad": 2.0 * self.scale,
            "axes.linewidth": 0.6 * self.scale,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.facecolor": "none",
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.color": GRID,
            "grid.linewidth": 0.4 * self.scale,
            "figure.facecolor": PAPER,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "xtick.major.size": 2.0 * self.scale,
            "ytick.major.size": 2.0 * self.scale,
            "xtick.major.width": 0.6 * self.scale,
            "ytick.major.width": 0.6 * self.scale,
            "xtick.major.pad": 2.0 * self.scale,
            "ytick.major.pad": 2.0 * self.scale,
            "lines.linewidth": self.line,
            "lines.markersize": 2.6 * self.scale,
            "legend.frameon": False,
            "legend.handlelength": 2.4,
            "legend.columnspacing": 1.2,
            "legend.borderpad": 0.5,
            "figure.constrained_layout.h_pad": 0.02 * self.scale,
            "figure.constrained_layout.w_pad": 0.02 * self.scale,
            "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
            "ps.fonttype": 42,
            "svg.fonttype": "path",  # outlines look the same where the font is not installed
            "svg.hashsalt": "plasticity-probe",  # equal input gives equal bytes
        }


_STYLES = {
    "paper": Style(width_cm=8.0, text=7.0, small=6.5, line=1.1),
    "slides": Style(width_cm=20.0, text=16.0, small=14.0, line=2.4),
}


def style(name: str) -> Style:
    """Returns the style of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in _STYLES:
        raise UnknownNameError("style", name, _STYLES)
    return _STYLES[name]


def looks(series: Sequence[str]) -> Mapping[str, Look]:
    """Gives every series a look of its own, in order."""
    count = len(series)
    parts = zip(islice(cycle(COLOURS), count), islice(cycle(MARKERS), count), islice(cycle(DASHES), count), strict=True)
    return {name: Look(*part) for name, part in zip(series, parts, strict=True)}
