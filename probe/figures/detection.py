"""Paired arms of the detector: returns, and what injection gained."""

from collections.abc import Mapping, Sequence
from math import exp, isfinite

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from probe.detection import Comparison, Detection, read_detections
from probe.detection.reading import INJECTED, Points
from probe.detection.verdict import RETURN
from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.material import Material
from probe.figures.names import step_name
from probe.figures.panels import legend_above, step_axis
from probe.figures.style import NEUTRAL, Look, Style, looks

_ARMS = ("control", INJECTED, "moment-reset", "head-reset", "fresh")
_SHORT = {"return": "return", "fitting_average_loss": "fit", "td_error_average_loss": "TD"}
_ROW_CM = 3.4


@register("detection", order=5)
class DetectionFigure(ReportFigure):
    """What plasticity injection changes: returns of the paired arms, and each pair's gain."""

    title = "Plasticity injection: paired arms"
    reads = "detections"
    shows = (
        "A row a module and step at which the run was forked. Left: mean return of the episodes that ended in each "
        "twentieth of the budget; thin lines are pairs, thick ones their mean. Middle: return of the injected arm "
        "less that of the arm it is compared with, a dot a pair, with the mean and its 95 % t interval. Right: how "
        "many times smaller the injected arm's loss is while fitting new targets (fit) and one frozen TD target (TD), "
        "likewise; the dashed line is the 1.1 up to which a gain counts as none."
    )
    caution = (
        "Arms that do alike are no proof of plasticity: exploration or data can stand in the way of any network. The "
        "pairs are of one checkpoint of one run, and say nothing of other runs."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws every detection of the analyses."""
        read = (each for a in material.analyses for each in read_detections(a.rows, a.probes))
        found = [each for each in read if each.draws(INJECTED)]
        if not found:
            raise NothingToDraw("No analysis holds a detection. `probe detect RUN --at STEP --out FILE.h5` makes one.")
        figure = Figure(figsize=style.size(len(found) * _ROW_CM + 1.0), layout="constrained")
        axes = figure.subplots(len(found), 3, squeeze=False, width_ratios=[2.2, 1, 1.2])
        look = looks(_ARMS)
        for (curves, returns, losses), each in zip(axes, found, strict=True):
            curves.set_title(f"{each.module} at {step_name(each.step)}: return", loc="left")
            _draw_returns(curves, each, look, style)
            compared = each.comparisons()
            _draw_gains(returns, [c for c in compared if not c.measure.is_ratio], look[INJECTED], style)
            _draw_gains(losses, [c for c in compared if c.measure.is_ratio], look[INJECTED], style)
            returns.set_title("gain")
            losses.set_title("loss ratio")
        figure.supxlabel("steps since the fork", fontsize=style.text, x=0.3)
        shown = [arm for arm in _ARMS if any(arm in each.curves for each in found)]
        legend_above(figure, _handles(shown, look), style)
        return figure


def _draw_returns(panel: Axes, detection: Detection, look: Mapping[str, Look], style: Style) -> None:
    for arm in (arm for arm in _ARMS if arm in detection.curves):
        colour, pairs = look[arm].colour, detection.curves[arm]
        for draw, (steps, values) in pairs.items():
            panel.plot(steps, values, color=colour, linewidth=0.4 * style.line, alpha=0.35, label=f"_{arm} {draw}")
        panel.plot(*_mean(list(pairs.values())), color=colour, linestyle=look[arm].dash, label=f"_{arm}", zorder=3)
    step_axis(panel, detection.budget, ticks=3)


def _mean(pairs: Sequence[Points]) -> Points:
    """Returns the mean of the pairs that have a number, at every step at which one has."""
    at: dict[int, list[float]] = {}
    for steps, values in pairs:
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            at.setdefault(step, []).append(value)
    return np.array(sorted(at), np.int64), np.array([np.mean(at[step]) for step in sorted(at)], np.float64)


def _draw_gains(panel: Axes, compared: Sequence[Comparison], look: Look, style: Style) -> None:
    known = [each for each in compared if each.pairs]
    if not known:
        panel.set_axis_off()
        return
    ratio = known[0].measure != RETURN
    for place, each in enumerate(known):
        values = [_scaled(value, ratio) for value in each.differences if isfinite(value)]
        places = place + np.linspace(-0.25, 0.05, len(values))
        panel.plot(places, values, linestyle="none", marker="o", color=look.colour, alpha=0.6)
        mean, low, high = (_scaled(value, ratio) for value in (each.mean, each.low, each.high))
        if isfinite(low):
            panel.plot([place + 0.25] * 2, [low, high], color=look.colour, linewidth=0.8 * style.line)
        panel.plot([place + 0.25], [mean], marker=look.marker, color=look.colour, markersize=4 * style.scale)
    panel.axhline(1.0 if ratio else 0.0, color=NEUTRAL, linewidth=0.6 * style.line)
    panel.set_xticks(range(len(known)), [_SHORT[each.measure.name] for each in known])
    panel.set_xlim(-0.5, len(known) - 0.5)
    if ratio:
        panel.axhline(exp(known[0].measure.margin), color=NEUTRAL, linestyle=(0, (3, 2)), linewidth=0.5 * style.line)
        panel.set_yscale("log")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _scaled(value: float, ratio: bool) -> float:
    return exp(value) if ratio and isfinite(value) else value


def _handles(arms: Sequence[str], look: Mapping[str, Look]) -> list[Artist]:
    return [Line2D([], [], color=look[arm].colour, linestyle=look[arm].dash, label=arm) for arm in arms]
