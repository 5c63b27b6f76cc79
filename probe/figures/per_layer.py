"""A fraction of units over training, a panel a layer and one for all layers together."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from probe.figures.base import NothingToDraw
from probe.figures.curves import Curve
from probe.figures.lines import draw_curves, drawable, highest, last_step, series_handles
from probe.figures.material import Material
from probe.figures.panels import from_zero, grid, legend_above, step_axis
from probe.figures.style import Style, looks

_LEAST_PERCENT = 5.0
"""Lowest top of the axis: a unit or two more must not look like a catastrophe."""


def draw_per_layer(
    material: Material, by_layer: Mapping[str, Sequence[Curve]], total: Sequence[Curve], name: str, style: Style
) -> Figure:
    """Draws fractions in percent.

    Args:
        material: Gives the order of layers and series.
        by_layer: Curves by layer label.
        total: Curves of all layers together.
        name: Of the vertical axis, with its unit.
        style: Sizes.

    Raises:
        NothingToDraw: no value is finite.
    """
    panels = [(entry.name, list(by_layer.get(entry.label, []))) for entry in material.layers]
    panels = [*[panel for panel in panels if drawable(panel[1])], ("all layers", list(total))]
    curves = [curve for _, several in panels for curve in several]
    if not drawable(curves):
        raise NothingToDraw("No checkpoint has a finite value.")
    figure, axes = grid(style, [title for title, _ in panels], panel_cm=1.95)
    look = looks(list(material.series.values()))
    for panel, (_, several) in zip(axes, panels, strict=True):
        draw_curves(panel, several, look, style, scale=100)
        step_axis(panel, last_step(curves))
    from_zero(axes[0], highest(curves, 100, _LEAST_PERCENT), ticks=4)
    figure.supxlabel("training steps", fontsize=style.text)
    figure.supylabel(name, fontsize=style.text)
    legend_above(figure, series_handles(curves, look, style), style)
    return figure
