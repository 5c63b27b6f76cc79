"""Cumulative singular values of the features."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from probe.arrays import NDArray
from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.first_last import draw_first_last, ends_of
from probe.figures.material import Material
from probe.figures.panels import from_zero
from probe.figures.style import NEUTRAL, Style

_SRANK_PERCENT = 99.0


def cumulative(
    singular_values: Float[NDArray[Any], "rank"],
) -> tuple[Float[NDArray[Any], "rank"], Float[NDArray[Any], "rank"]]:
    """Returns (number of values k, share of their sum in the k largest, in percent); NaN where all are zero."""
    index = np.arange(1, len(singular_values) + 1, dtype=np.float64)
    total = singular_values.sum()
    shares = 100 * np.cumsum(singular_values) / total if total > 0 else np.full(len(singular_values), np.nan)
    return index, shares


@register("spectrum_cumulative", order=70)
class CumulativeSpectrumFigure(ReportFigure):
    """Cumulative share of one layer's singular values at the first and the last checkpoint."""

    title = "Cumulative singular values"
    shows = (
        "The share of the sum of all singular values that the k largest hold, in percent, for the features of one "
        "layer (mean not removed): the first checkpoint grey and dashed, the last one in colour. Where a curve "
        "crosses the dotted line at 99 % stands the srank of Kumar et al. 2021."
    )
    caution = (
        "The values are not squared, so this is no explained variance, as similar plots often say. The squared "
        "values would rise much faster."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws the cumulative spectra of the chosen layer."""
        layer = material.layer(settings.layer)
        ends = ends_of(material, layer, "singular_values") if layer else {}
        if layer is None or not ends:
            raise NothingToDraw(
                "No series has two checkpoints with singular values. Run `probe analyze` with the probe `rank`, on at "
                "least as many observations as the layer has units."
            )
        figure, axes = draw_first_last(material, ends, cumulative, style)
        from_zero(axes[0], 100)
        for panel in axes:
            panel.set_xlim(1 - 0.03 * layer.units, layer.units * 1.03)
            panel.axhline(
                _SRANK_PERCENT, color=NEUTRAL, linestyle=(0, (1, 2)), linewidth=0.5 * style.line, label="_99 %"
            )
        figure.supxlabel(f"largest singular values counted (of {layer.units}), layer {layer.name}", fontsize=style.text)
        figure.supylabel("share of the sum of\nsingular values (%)", fontsize=style.text)
        return figure
