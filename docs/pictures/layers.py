"""Probes whose picture has the layers on an axis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from docs.pictures.base import picture
from docs.pictures.ends import FIRST, end_handles
from docs.pictures.rows import curves, of_series
from probe.figures import Material, Style
from probe.figures.curves import Curve
from probe.figures.panels import grid, legend_above, step_axis
from probe.figures.style import COLOURS, NEUTRAL, looks
from probe.probes.collapse import Collapse
from probe.probes.layer_norms import LayerNorms

_WORKS: dict[str, Any] = {"color": NEUTRAL, "marker": ".", "label": "works"}
_SPARSER: dict[str, Any] = {"color": COLOURS[4], "marker": "v", "label": "fraction of active units halved"}
_COLLAPSED: dict[str, Any] = {"color": COLOURS[1], "marker": "s", "label": "collapsed"}


@picture(
    Collapse(),
    "Every layer at every checkpoint. No layer of this short run collapsed; some lost more than half of their active "
    "units, which alone is no collapse.",
)
def collapse(material: Material, style: Style) -> Figure:
    """Draws the state of each layer along the steps."""
    names = list(material.series.values())
    figure, axes = grid(style, names, panel_cm=3.2)
    for panel, series in zip(axes, names, strict=True):
        for row, entry in enumerate(material.layers):
            collapsed, sparser = (
                of_series(series, material.curves("collapse", metric, "layer", label=entry.label))
                for metric in ("collapsed", "change_point")
            )
            _draw_states(panel, row, collapsed, sparser)
        step_axis(panel, collapsed.steps[-1], ticks=3)
    axes[0].set_yticks(range(len(material.layers)), [entry.name for entry in material.layers])
    axes[0].set_ylim(len(material.layers) - 0.5, -0.5)
    figure.supxlabel("training steps", fontsize=style.text)
    legend_above(figure, [Line2D([], [], linestyle="none", **look) for look in (_WORKS, _SPARSER, _COLLAPSED)], style)
    return figure


def _draw_states(panel: Axes, row: int, collapsed: Curve, sparser: Curve) -> None:
    state = np.where(collapsed.values == 1, 2, sparser.values)
    for value, look in enumerate((_WORKS, _SPARSER, _COLLAPSED)):
        steps = collapsed.steps[state == value]
        panel.plot(steps, np.full(len(steps), row), linestyle="none", **{**look, "label": f"_{look['label']}"})


@picture(
    LayerNorms(),
    "Root mean square of each layer's activations and of its weights' gradient of critic and actor together, from the "
    "first layer to the last.",
    every=8,
)
def layer_norms(material: Material, style: Style) -> Figure:
    """Draws both over depth, at the first and the last checkpoint."""
    names = list(material.series.values())
    metrics = {"feature_rms": "activations", "gradient_rms_joint": "gradient"}
    figure, axes = grid(style, [*names, *[""] * len(names)], panel_cm=2.9, columns=len(names), shared=False)
    look, depth = looks(names), range(len(material.layers))
    for panel, (metric, series) in zip(axes, [(m, s) for m in metrics for s in names], strict=True):
        values = [of_series(series, _of_layer(material, metric, entry.label)) for entry in material.layers]
        first, last = [each.values[0] for each in values], [each.values[-1] for each in values]
        panel.plot(depth, first, marker=".", label=f"_{series} first", **FIRST)
        panel.plot(depth, last, color=look[series].colour, marker=look[series].marker, label=f"_{series} last")
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_xticks(depth, [entry.name for entry in material.layers], rotation=45, ha="right")
        panel.set_ylabel(f"RMS of {metrics[metric]}" if series == names[0] else "")
    for row in (axes[: len(names)], axes[len(names) :]):
        _same_range(row)
    legend_above(figure, end_handles(look, values[0].steps[-1]), style)
    return figure


def _same_range(row: Sequence[Axes]) -> None:
    limits = [panel.get_ylim() for panel in row]
    for panel in row:
        panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _of_layer(material: Material, metric: str, label: str) -> list[Curve]:
    """Returns a metric of a nonlinearity, or of the weight layer before it, whose path is the label."""
    ids = {entry["label"]: entry["layer"] for analysis in material.analyses for entry in analysis.layers}
    layer = label if metric.startswith("gradient") else ids[label]
    return curves(material, probe="layer-norms", metric=metric, layer=layer)
