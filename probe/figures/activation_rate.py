"""How often units are active."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from probe.arrays import NDArray
from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.first_last import draw_first_last, ends_of
from probe.figures.material import Material
from probe.figures.panels import from_zero
from probe.figures.style import Style

_BINS = 20


def histogram(rates: Float[NDArray[Any], "unit"]) -> tuple[Float[NDArray[Any], "edge"], Float[NDArray[Any], "edge"]]:
    """Returns the outline of a histogram of rates in percent: (bin edges, percent of units in the bin left of each).

    The first and last point lie on zero. Bins include their left edge; the last one its right edge too.
    """
    counts, edges = np.histogram(100 * rates, bins=_BINS, range=(0.0, 100.0))
    shares = 100 * counts / max(len(rates), 1)
    return np.concatenate([edges[:1], edges, edges[-1:]]), np.concatenate([[0.0], shares[:1], shares, [0.0]])


@register("activation_rate", order=80)
class ActivationRateFigure(ReportFigure):
    """Distribution of one layer's activation rates at the first and the last checkpoint."""

    title = "How often units are active"
    shows = (
        "Histogram of the units of one layer by activation rate, the share of observations (and, for a convolution, "
        "positions) on which a unit is above zero, in bins of 5 %: the first checkpoint grey and dashed, the last "
        "one in colour. Units at the left edge hardly ever fire, units at the right edge always do and act as "
        "linear ones."
    )
    caution = (
        "A shift to the left is sparsity and can be useful. Only the very first bin can hold dead units, and the "
        "figure of dead units counts them exactly."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws the histograms of the chosen layer."""
        layer = material.layer(settings.layer)
        ends = ends_of(material, layer, "activation_rate") if layer else {}
        if layer is None or not ends:
            raise NothingToDraw(
                "No series has two checkpoints with activation rates. Run `probe analyze` on its series."
            )
        figure, axes = draw_first_last(material, ends, histogram, style, drawstyle="steps-pre")
        tallest = max(float(np.max(line.get_ydata())) for panel in axes for line in panel.lines)
        from_zero(axes[0], tallest)
        for panel in axes:
            panel.set_xlim(-3, 103)
            panel.set_xticks([0, 25, 50, 75, 100])
        figure.supxlabel(f"activation rate of a unit (%), layer {layer.name}", fontsize=style.text)
        figure.supylabel("units in a bin of 5 % (%)", fontsize=style.text)
        return figure
