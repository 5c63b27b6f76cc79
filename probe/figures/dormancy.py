"""Dormant units over training."""

from typing import Any

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure

from probe.arrays import NDArray
from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.curves import Curve
from probe.figures.material import Material, Snapshot
from probe.figures.per_layer import draw_per_layer
from probe.figures.style import Style


@register("dormancy", order=10)
class DormancyFigure(ReportFigure):
    """Share of dormant units over training, a panel a layer and one for all layers."""

    title = "Dormant units over training"
    shows = (
        "Share of each layer's units that are dormant, in percent, against training steps (agent decisions, summed "
        "over the environments). A unit is a channel of a convolution or a feature of a dense layer. Its score is "
        "its mean absolute activation over the observation set, divided by the mean of its layer; it is dormant "
        "where the score is at most tau (Sokar et al. 2023, arXiv:2302.12902). The last panel counts the units of "
        "all layers together. The dotted line is the freshly initialised network."
    )
    caution = (
        "Dormant is relative to the layer and to these observations: such a unit may be active elsewhere. A rise "
        "beside rising returns can be a sparse code and no loss of plasticity."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws dormant fractions; a tau without rows is computed from the stored means, with no forward pass."""
        name = f"dormant units (%), tau = {settings.tau:g}"
        stored = {
            entry.label: material.curves(
                "dormancy", "dormant_fraction", "layer", label=entry.label, threshold=settings.tau
            )
            for entry in material.layers
        }
        total = material.curves("dormancy", "dormant_fraction", "micro", module="all", threshold=settings.tau)
        if not total:
            stored, total = _computed(material, settings.tau)
        if not total:
            raise NothingToDraw(
                "The analysis holds no mean activations. Run `probe analyze` with the probe `dormancy`."
            )
        return draw_per_layer(material, stored, total, name, style)


def _computed(material: Material, tau: float) -> tuple[dict[str, list[Curve]], list[Curve]]:
    by_layer: dict[str, list[Curve]] = {entry.label: [] for entry in material.layers}
    total: list[Curve] = []
    groups: dict[tuple[str, int], list[Snapshot]] = {}
    for snapshot in material.snapshots():
        groups.setdefault((snapshot.series, snapshot.seed), []).append(snapshot)
    for (series, seed), snapshots in groups.items():
        masks = {label: [_mask(snapshot, label, tau) for snapshot in snapshots] for label in by_layer}
        steps = np.array([snapshot.step for snapshot in snapshots], dtype=np.int64)
        low = np.zeros(len(steps), dtype=bool)
        for label, of_layer in masks.items():
            shares = np.array([mask.mean() if mask is not None else np.nan for mask in of_layer])
            by_layer[label].append(Curve(series, seed, steps, shares, low))
        everywhere = [[mask for mask in column if mask is not None] for column in zip(*masks.values(), strict=True)]
        shares = np.array([np.concatenate(column).mean() if column else np.nan for column in everywhere])
        total.append(Curve(series, seed, steps, shares, low))
    return by_layer, [curve for curve in total if np.isfinite(curve.values).any()]


def _mask(snapshot: Snapshot, label: str, tau: float) -> Bool[NDArray[Any], "unit"] | None:
    # Imported here: torch is slow to load, and most reports find their tau among the rows.
    import torch

    from probe.probes.dormancy import dormant_units

    mean_abs = snapshot.array(label, "mean_abs")
    if mean_abs is None:
        return None
    return np.asarray(dormant_units(torch.from_numpy(mean_abs), tau).numpy())
