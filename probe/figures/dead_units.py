"""Dead units over training."""

from matplotlib.figure import Figure

from probe.figures.base import NothingToDraw, ReportFigure, Settings, register
from probe.figures.material import Material
from probe.figures.per_layer import draw_per_layer
from probe.figures.style import Style


@register("dead_units", order=20)
class DeadUnitsFigure(ReportFigure):
    """Share of units that no observation activates over training, a panel a layer and one for all layers."""

    title = "Dead units over training"
    shows = (
        "Share of each layer's units whose activation is above zero on not a single observation of the set (for a "
        "convolution: at no position either), in percent, against training steps. The last panel counts the units "
        "of all layers together. The dotted line is the freshly initialised network: units can be dead from the "
        "start."
    )
    caution = (
        "This is not the share of zeros in a batch, which many reports call dead and which is far larger. With N "
        "independent observations a unit that is never seen to fire may still fire on up to 3/N of all inputs. For "
        "activations other than ReLU, zero is no sign of death."
    )

    def draw(self, material: Material, style: Style, settings: Settings) -> Figure:
        """Draws dead fractions."""
        total = material.curves("activity", "dead_fraction", "micro", module="all")
        if not total:
            raise NothingToDraw("The analysis holds no dead units. Run `probe analyze` with the probe `activity`.")
        by_layer = {
            entry.label: material.curves("activity", "dead_fraction", "layer", label=entry.label)
            for entry in material.layers
        }
        return draw_per_layer(material, by_layer, total, "dead units (%)", style)
