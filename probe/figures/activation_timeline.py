"""Activations of every layer while a run trained."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10, sqrt
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from probe.arrays import NDArray
from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.curves import Curve, by_series
from probe.figures.lines import last_step
from probe.figures.material import Material
from probe.figures.names import layer_name
from probe.figures.panels import grid, legend_above, step_axis
from probe.figures.style import NEUTRAL, Look, Style, looks
from probe.headline import DORMANCY_THRESHOLD

_MEAN = "activation/mean_abs/"
_DORMANT = f"activation/dormant_{DORMANCY_THRESHOLD}/"
_COLLAPSED = "activation/collapsed/"
_BARS = 104.0
"""Percent at which the first bar lies that says how long a layer was collapsed; the next ones lie above it."""
_BAR = 5.0


@register("activation_timeline", order=8)
class ActivationTimelineFigure(ReportFigure):
    """Mean activation and dormant units of every layer while a run trained, and when a layer was collapsed."""

    title = "Activation timeline"
    reads = "logs"
    shows = (
        "What a run with `monitor.every` logged of each layer, against training steps. Left: the mean absolute "
        f"activation, on a logarithmic scale. Right: the share of dormant units (tau = {DORMANCY_THRESHOLD:g}) in "
        "percent, and above it a bar, in the colour of its run, for the time in which the layer was collapsed by the "
        "signs of the probe `collapse`. With several seeds, each is a line and a row of bars."
    )
    caution = (
        "Read from some 64 observations of the run's own, which change as it learns: a layer can look silent because "
        "the states that wake it are not visited. A mean activation says nothing where a normalisation follows it."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws a row of panels a layer."""
        layers = _layers(material)
        if not layers:
            raise NothingToDraw(
                "No run logged its activations. `probe train PRESET --set monitor.every=1000` makes one do so."
            )
        titles = [f"{layer_name(layer)}: {what}" for layer in layers for what in ("mean |h|", "dormant")]
        figure, axes = grid(style, titles, panel_cm=1.95, shared=False)
        look = looks(list(material.series.values()))
        curves = [curve for layer in layers for curve in material.logged(_MEAN + layer)]
        for layer, left, right in zip(layers, axes[::2], axes[1::2], strict=True):
            _draw_means(left, material.logged(_MEAN + layer), look, style)
            _draw_dormant(right, material.logged(_DORMANT + layer), look, style)
            _draw_bars(right, material.logged(_COLLAPSED + layer), look, style)
            for panel in (left, right):
                step_axis(panel, last_step(curves))
        figure.supxlabel("training steps", fontsize=style.text)
        legend_above(figure, _handles(material, layers, curves, look, style), style)
        return figure


def _layers(material: Material) -> list[str]:
    """Returns the layers that any run logged, in the order of the logs."""
    columns = dict.fromkeys(name for log in material.logs for name in log.columns if name.startswith(_MEAN))
    return [name.removeprefix(_MEAN) for name in columns if material.logged(name)]


def _draw_means(panel: Axes, curves: Sequence[Curve], look: Mapping[str, Look], style: Style) -> None:
    for curve in curves:
        # A layer that is all zero has no place on the axis: a gap, and a bar on the right.
        values = np.where(curve.values > 0, curve.values, np.nan)
        _line(panel, curve, values, look, style)
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    room = max(1.0, sqrt(2 * low / high))  # the axis spans a factor of two at least: noise must not look like a course
    panel.set_ylim(low / room, high * room)
    panel.yaxis.set_major_locator(FixedLocator(log_ticks(*panel.get_ylim())))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float) -> list[float]:
    """Returns round numbers between two positive ones: as few kinds of digits as give three ticks."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    found: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        found = [tick for decade in decades for digit in digits if low <= (tick := float(f"{digit}e{decade}")) <= high]
        if len(found) >= 3:
            break
    return found


def _draw_dormant(panel: Axes, curves: Sequence[Curve], look: Mapping[str, Look], style: Style) -> None:
    for curve in curves:
        _line(panel, curve, 100 * curve.values, look, style)
    panel.set_ylim(-4, _BARS)
    panel.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2.5, 5]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


def _line(panel: Axes, curve: Curve, values: NDArray[Any], look: Mapping[str, Look], style: Style) -> None:
    of = look[curve.series]
    label = f"_{curve.series} seed {curve.seed}"
    panel.plot(curve.steps, values, color=of.colour, linestyle=of.dash, linewidth=0.7 * style.line, label=label)


def _draw_bars(panel: Axes, curves: Sequence[Curve], look: Mapping[str, Look], style: Style) -> None:
    collapsed = [curve for curve in curves if (curve.values > 0).any()]
    for place, curve in enumerate(collapsed):
        height = _BARS + place * _BAR
        values = np.where(curve.values > 0, height, np.nan)
        of, label = look[curve.series], f"_{curve.series} seed {curve.seed} collapsed"
        panel.plot(curve.steps, values, color=of.colour, linewidth=2 * style.line, solid_capstyle="butt", label=label)
    if collapsed:
        panel.set_ylim(-4, _BARS + len(collapsed) * _BAR)


def _handles(
    material: Material, layers: Sequence[str], curves: Sequence[Curve], look: Mapping[str, Look], style: Style
) -> list[Line2D]:
    handles = [
        Line2D([], [], color=of.colour, linestyle=of.dash, label=series)
        for series, of in look.items()
        if series in by_series(curves)
    ]
    logged = [curve for layer in layers for curve in material.logged(_COLLAPSED + layer)]
    if any((curve.values > 0).any() for curve in logged):
        handles.append(Line2D([], [], color=NEUTRAL, linewidth=2 * style.line, label="collapsed"))
    return handles
