"""Do the same units stay dormant?"""

from math import ceil
from textwrap import fill
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.arrays import NDArray
from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.material import Material
from probe.figures.names import step_name
from probe.figures.style import NEUTRAL, PAPER, Style

_COLUMNS = 2
_TITLE_CHARACTERS = 22
_MAXIMUM_NUMBERS = 6
"""Checkpoints up to which every cell has room for its number."""
_MAXIMUM_TICKS = 5
_CHARACTERS = 16
"""Of all step names below a panel with a blank each: more would touch one another."""


@register("overlap", order=30)
class OverlapFigure(ReportFigure):
    """Overlap of the dormant units of every two checkpoints of a series, for one layer."""

    title = "Overlap of dormant sets"
    shows = (
        "For every two checkpoints of a series the share of the smaller set of dormant units that is dormant at "
        "both, in percent, for one layer; with several seeds their mean. Near 100 % the same units stay dormant. A "
        "hatched cell is undefined: at one of the two checkpoints no unit is dormant, for one seed at least."
    )
    caution = (
        "A tiny set inside a large one scores 100 %. If a fraction p of units is dormant, chance alone gives about "
        "p. After a reset or a mitigation that replaces units, a unit's identity is lost. What happens between two "
        "checkpoints is not seen."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws a matrix a series, computed from the stored mean activations."""
        layer = material.layer(settings.layer)
        matrices = _matrices(material, layer.label, settings.tau) if layer else {}
        if layer is None or not matrices:
            raise NothingToDraw(
                "No series has two checkpoints with mean activations. Run `probe analyze` on its series."
            )
        if not any(np.isfinite(matrix[~np.eye(len(matrix), dtype=bool)]).any() for _, matrix in matrices.values()):
            raise NothingToDraw(
                f"No two checkpoints both have a dormant unit in {layer.name} at tau = {settings.tau:g}."
            )
        rows, across = ceil(len(matrices) / _COLUMNS), min(_COLUMNS, len(matrices))
        figure = Figure(figsize=style.size(3.6 * rows + 1.1 if across > 1 else 6.8), layout="constrained")
        axes = figure.subplots(rows, across, squeeze=False).ravel().tolist()
        for spare in axes[len(matrices) :]:
            spare.remove()
        axes = axes[: len(matrices)]
        same = len({tuple(steps) for steps, _ in matrices.values()}) == 1
        for at, (panel, (name, (steps, matrix))) in enumerate(zip(axes, matrices.items(), strict=True)):
            panel.set_title(fill(name, _TITLE_CHARACTERS))
            _draw_matrix(panel, steps, matrix, style)
            if same and at % across:
                panel.tick_params(labelleft=False)
        image = axes[0].collections[0]
        bar = figure.colorbar(image, ax=axes, location="top", aspect=40, shrink=0.9, pad=0.02)
        bar.set_label(f"overlap (%), layer {layer.name}, tau = {settings.tau:g}", fontsize=style.text)
        bar.outline.set_visible(False)
        figure.supxlabel("training steps", fontsize=style.text)
        figure.supylabel("training steps", fontsize=style.text)
        return figure


def _matrices(
    material: Material, label: str, tau: float
) -> dict[str, tuple[list[int], Float[NDArray[Any], "step step"]]]:
    # Imported here: torch is slow to load.
    import torch

    from probe.probes.dormancy import overlap_matrix

    groups: dict[str, dict[int, dict[int, NDArray[Any]]]] = {}
    for snapshot in material.snapshots():
        mean_abs = snapshot.array(label, "mean_abs")
        if mean_abs is not None:
            groups.setdefault(snapshot.series, {}).setdefault(snapshot.seed, {})[snapshot.step] = mean_abs
    matrices = {}
    for series, seeds in groups.items():
        common = sorted(set.intersection(*(set(means) for means in seeds.values())))
        if len(common) > 1:
            stacks = [np.stack([means[step] for step in common]) for means in seeds.values()]
            of_seeds = [overlap_matrix(torch.from_numpy(stack), tau).numpy() for stack in stacks]
            matrices[series] = (common, np.mean(of_seeds, axis=0))
    return matrices


def _draw_matrix(panel: Axes, steps: list[int], matrix: Float[NDArray[Any], "step step"], style: Style) -> None:
    count = len(steps)
    panel.grid(False)
    panel.set_facecolor(PAPER)
    panel.patch.set(hatch="//////", edgecolor=NEUTRAL, linewidth=0)
    colours = colormaps["cividis"]
    edges = np.arange(count + 1) - 0.5
    panel.pcolormesh(edges, edges, 100 * matrix, cmap=colours, vmin=0, vmax=100)
    panel.set_aspect("equal")
    every = max(1, ceil(count / _MAXIMUM_TICKS))
    names = {place: step_name(steps[place]) for place in range(0, count, every)}
    panel.set_yticks(list(names), list(names.values()))
    while sum(len(name) + 1 for name in names.values()) > _CHARACTERS and len(names) > 1:
        names = dict(list(names.items())[::2])
    panel.set_xticks(list(names), list(names.values()))
    panel.spines[:].set_visible(False)
    if count <= _MAXIMUM_NUMBERS:
        # The matrix is symmetric and its diagonal 100: numbers on one side say it all.
        for row, column in np.argwhere(np.isfinite(matrix) & np.tri(count, k=-1, dtype=bool)):
            value = 100 * matrix[row, column]
            colour = "#000000" if value > 55 else "#ffffff"  # on the cell, whatever the page
            panel.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=style.small)
