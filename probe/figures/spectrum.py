"""Singular values of the features."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from probe.arrays import NDArray
from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.first_last import draw_first_last, ends_of
from probe.figures.material import Material
from probe.figures.style import Style

_FLOOR = 1e-8
"""Smallest value drawn: below it float32 activations hold rounding."""


def normalised(
    singular_values: Float[NDArray[Any], "rank"],
) -> tuple[Float[NDArray[Any], "rank"], Float[NDArray[Any], "rank"]]:
    """Returns (index from 1, singular values divided by the largest); NaN where smaller than the floor or all zero."""
    index = np.arange(1, len(singular_values) + 1, dtype=np.float64)
    largest = singular_values.max()
    shares = singular_values / largest if largest > 0 else np.full(len(singular_values), np.nan)
    return index, np.where(shares >= _FLOOR, shares, np.nan)


@register("spectrum", order=60)
class SpectrumFigure(ReportFigure):
    """Singular values of one layer's features at the first and the last checkpoint, on a logarithmic scale."""

    title = "Singular values of the features"
    shows = (
        "The singular values of a layer's feature matrix (observations by units, mean not removed), largest first, "
        "each divided by the largest, on a logarithmic scale: the first checkpoint grey and dashed, the last one in "
        "colour. The steeper the fall, the fewer directions the features use. Values below 1e-8 are not drawn."
    )
    caution = (
        "The largest value is often no more than the common mean of all features: a steep start alone says little. "
        "Where seeds are repeated, each has its own line."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws the spectra of the chosen layer."""
        layer = material.layer(settings.layer)
        ends = ends_of(material, layer, "singular_values") if layer else {}
        if layer is None or not ends:
            raise NothingToDraw(
                "No series has two checkpoints with singular values. Run `probe analyze` with the probe `rank`, on at "
                "least as many observations as the layer has units."
            )
        figure, axes = draw_first_last(material, ends, normalised, style)
        axes[0].set_yscale("log")
        axes[0].set_ylim(top=1.6)
        axes[0].yaxis.set_major_locator(LogLocator(numticks=5))
        axes[0].yaxis.set_minor_locator(NullLocator())
        # Not a power with a raised exponent: its digits would be too small to read.
        axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))
        for panel in axes:
            panel.set_xlim(1 - 0.03 * layer.units, layer.units * 1.03)
        figure.supxlabel(f"index of the singular value (of {layer.units}), layer {layer.name}", fontsize=style.text)
        figure.supylabel("share of the largest", fontsize=style.text)
        return figure
