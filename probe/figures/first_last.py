"""The first and the last checkpoint of every series side by side, a panel a series."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probe.arrays import NDArray
from probe.figures.base import NothingToDraw
from probe.figures.material import LayerEntry, Material, Snapshot
from probe.figures.names import step_name
from probe.figures.panels import grid, legend_above
from probe.figures.style import NEUTRAL, Look, Style, looks

FIRST_DASH = (0, (3, 1.2))
_COLOURS = 3
"""Colours side by side in the legend, as an example of them all."""


@dataclass(frozen=True)
class Ends:
    """One layer's array at the first and the last measured checkpoint of one seed."""

    seed: int
    first_step: int
    first: Float[NDArray[Any], "entry"]
    last_step: int
    last: Float[NDArray[Any], "entry"]


def ends_of(material: Material, layer: LayerEntry, name: str) -> dict[str, list[Ends]]:
    """Returns the ends of every series by seed; a seed counts from two checkpoints that have the array."""
    series: dict[tuple[str, int], list[Snapshot]] = {}
    for snapshot in material.snapshots():
        series.setdefault((snapshot.series, snapshot.seed), []).append(snapshot)
    ends: dict[str, list[Ends]] = {}
    for (name_of_series, seed), snapshots in series.items():
        first, last = _earliest(snapshots, layer, name), _earliest(snapshots[::-1], layer, name)
        if first is not None and last is not None and first[0] < last[0]:
            ends.setdefault(name_of_series, []).append(Ends(seed, *first, *last))
    return ends


def _earliest(
    snapshots: Sequence[Snapshot], layer: LayerEntry, name: str
) -> tuple[int, Float[NDArray[Any], "entry"]] | None:
    """Returns (step, array) of the first snapshot that has the array."""
    for snapshot in snapshots:
        values = snapshot.array(layer.label, name)
        if values is not None:
            return snapshot.step, values.astype(np.float64)
    return None


def draw_first_last(
    material: Material,
    ends: Mapping[str, list[Ends]],
    curve: Callable[[Float[NDArray[Any], "entry"]], tuple[Float[NDArray[Any], "point"], Float[NDArray[Any], "point"]]],
    style: Style,
    drawstyle: str = "default",
) -> tuple[Figure, list[Axes]]:
    """Draws a curve of the first checkpoint (grey, dashed) and of the last (the series' colour) a series.

    Args:
        material: Gives the order of the series.
        ends: Arrays by series.
        curve: Turns an array into the (x, y) of a line.
        style: Sizes.
        drawstyle: Matplotlib's name of how points are joined.

    Raises:
        NothingToDraw: no series has two checkpoints with the array.
    """
    names = [name for name in material.series.values() if name in ends]
    if not names:
        raise NothingToDraw("No series has two checkpoints that hold what this figure needs.")
    figure, axes = grid(style, names, panel_cm=3.3 if len(names) <= 2 else 2.7)
    look = looks(list(material.series.values()))
    for panel, name in zip(axes, names, strict=True):
        for seed in ends[name]:
            _pair(panel, curve(seed.first), curve(seed.last), look[name], style, drawstyle, f"{name} seed {seed.seed}")
    shown = [each for name in names for each in ends[name]]
    last = _label("last", [each.last_step for each in shown])
    handles = [
        Line2D([], [], color=NEUTRAL, linestyle=FIRST_DASH, label=_label("first", [each.first_step for each in shown])),
        *[Line2D([], [], color=look[name].colour, label=last) for name in names[:_COLOURS]],
    ]
    legend_above(figure, [handles[0], tuple(handles[1:])], style)
    return figure, axes


Points = tuple[Float[NDArray[Any], "point"], Float[NDArray[Any], "point"]]


def _pair(panel: Axes, first: Points, last: Points, look: Look, style: Style, drawstyle: str, label: str) -> None:
    width = 0.9 * style.line
    panel.plot(
        *first, color=NEUTRAL, linestyle=FIRST_DASH, linewidth=width, drawstyle=drawstyle, label=f"_{label} first"
    )
    panel.plot(*last, color=look.colour, linewidth=width, drawstyle=drawstyle, label=f"_{label} last")


def _label(which: str, steps: list[int]) -> str:
    return f"{which} checkpoint" if len(set(steps)) > 1 else f"{which}, step {step_name(steps[0])}"
