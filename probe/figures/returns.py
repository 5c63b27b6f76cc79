"""Returns over training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.curves import Curve, by_series
from probe.figures.lines import last_step, marked, series_handles
from probe.figures.material import Material
from probe.figures.panels import grid, legend_above, step_axis
from probe.figures.style import NEUTRAL, Look, Style, looks

_PANELS = {
    "return/train": ("training levels", "return per episode"),
    "return/test": ("unseen test levels", "return per episode"),
    "accuracy/task": ("before each step, mean over each task", "accuracy"),
    "accuracy/test": ("test observations", "accuracy"),
}
"""Metric -> title of its panel, what its axis says. A supervised stream has the last two."""
_MARKED = 20
"""Task shifts that are marked at most; more lines would hide the curves."""


def mean_log(seeds: Sequence[Curve]) -> Curve:
    """Averages logged curves of several seeds at every step that any of them has, within the range of all.

    Seeds finish episodes at different steps, so that each is read off between its neighbours.
    """
    start, end = max(curve.steps[0] for curve in seeds), min(curve.steps[-1] for curve in seeds)
    steps = np.unique(np.concatenate([curve.steps for curve in seeds]))
    steps = steps[(steps >= start) & (steps <= end)]
    values = np.mean([np.interp(steps, curve.steps, curve.values) for curve in seeds], axis=0).reshape(len(steps))
    return Curve(seeds[0].series, -1, steps, values, np.zeros(len(steps), dtype=bool))


@register("returns", order=0)
class ReturnsFigure(ReportFigure):
    """Returns, or accuracy, in training and on unseen test levels, with the task shifts marked."""

    title = "Returns"
    reads = "logs"
    shows = (
        "Mean undiscounted return of an episode against training steps (agent decisions, summed over the "
        "environments): on the levels that are trained on, and on levels never trained on. Of a supervised stream, the "
        "accuracy on observations before they are learnt from, and on test observations. Vertical lines mark up to 20 "
        "task shifts. With several seeds, thin lines are seeds and the thick one is their mean."
    )
    caution = (
        "A low return after a shift can come from poor exploration or too few steps as well as from lost "
        "plasticity. Returns of few episodes are noisy."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws the logged returns and accuracies; a metric that no run logged has no panel."""
        logged = {metric: curves for metric in _PANELS if (curves := material.logged(metric))}
        panels = {_PANELS[metric][0]: curves for metric, curves in logged.items()}
        if not panels:
            reason = "The training logs hold no finished episode." if material.logs else "No run folder was given."
            raise NothingToDraw(f"{reason} `probe report RUN ...` reads the returns from its metrics.csv.")
        curves = [curve for several in panels.values() for curve in several]
        figure, axes = grid(style, list(panels), panel_cm=2.9, columns=1)
        look = looks(list(material.series.values()))
        shifts = sorted({shift for log in material.logs for shift in log.shifts})
        shifts = shifts if len(shifts) <= _MARKED else []
        for panel, several in zip(axes, panels.values(), strict=True):
            for shift in shifts:
                panel.axvline(shift, color=NEUTRAL, linestyle=(0, (2, 2)), linewidth=0.6 * style.line, label="_shift")
            for place, (series, seeds) in enumerate(by_series(several).items()):
                _draw_seeds(panel, seeds, look[series], style, place)
            step_axis(panel, last_step(curves), ticks=6)
        figure.supxlabel("training steps", fontsize=style.text)
        words = dict.fromkeys(_PANELS[metric][1] for metric in logged)
        figure.supylabel(" and ".join(words), fontsize=style.text)
        handles = [handle for handle in series_handles(curves, look, style) if "step 0" not in str(handle.get_label())]
        if shifts:
            handles.append(
                Line2D([], [], color=NEUTRAL, linestyle=(0, (2, 2)), linewidth=0.6 * style.line, label="task shift")
            )
        legend_above(figure, handles, style)
        return figure


def _draw_seeds(panel: Axes, seeds: Sequence[Curve], look: Look, style: Style, place: int) -> None:
    mean = mean_log(seeds) if len(seeds) > 1 else seeds[0]
    if len(seeds) > 1:
        for curve in seeds:
            label = f"_{curve.series} seed {curve.seed}"
            width = 0.4 * style.line
            panel.plot(curve.steps, curve.values, color=look.colour, linewidth=width, alpha=0.45, label=label)
    panel.plot(
        mean.steps,
        mean.values,
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        markevery=marked(len(mean.steps), place),
        label=f"_{mean.series}",
        zorder=3,
    )
