"""Probes whose picture is their main metric over training."""

from typing import Any

from matplotlib.figure import Figure

from docs.pictures.base import picture
from docs.pictures.rows import curves
from probe.figures import Material, Style
from probe.figures.over_training import draw_over_training
from probe.probes.aliasing import Aliasing
from probe.probes.churn import Churn
from probe.probes.curvature import Curvature
from probe.probes.dormancy_history import DormancyHistory
from probe.probes.drift import Drift
from probe.probes.gradient_dormancy import GradientDormancy
from probe.probes.policy_collapse import PolicyCollapse
from probe.probes.redundancy import Redundancy
from probe.probes.representation_shift import RepresentationShift
from probe.probes.value import Value

_TAU = 0.1


@picture(
    Aliasing(),
    "Cosine of the encoder's features, for the tenth of all pairs of observations whose returns differ most and for "
    "all pairs.",
)
def aliasing(material: Material, style: Style) -> Figure:
    """Draws the likeness of distant and of random pairs."""
    titles = {"distant_similarity": "returns differ most", "random_similarity": "all pairs"}
    panels = [(title, curves(material, probe="aliasing", metric=metric)) for metric, title in titles.items()]
    return draw_over_training(material, panels, "cosine of features", style, panel_cm=3.2, least=1.0)


@picture(
    Churn(), "What changed from each checkpoint to the next one, on the same observations: the policy and the value."
)
def churn(material: Material, style: Style) -> Figure:
    """Draws the divergence of the policy and the change of the value."""
    actor = curves(material, "before", probe="churn", metric="kl", module="actor")
    critic = curves(material, "before", probe="churn", metric="mean_change", module="critic")
    panels = [("policy: KL (nats)", actor), ("value: mean |change|", critic)]
    return draw_over_training(material, panels, "", style, panel_cm=3.2, least=1e-3, shared=False)


@picture(
    Curvature(samples=128),
    "Effective rank of the tangent kernel and of the empirical Fisher, of 128 observations (the default is 256), at "
    "three checkpoints.",
    every=4,
)
def curvature(material: Material, style: Style) -> Figure:
    """Draws the effective ranks of both kernels, by output."""
    kernels = {"ntk": "tangent kernel", "fisher": "Fisher"}
    panels = [
        (
            f"{kernel}, {module}",
            curves(material, probe="curvature", metric=f"{name}_effective_rank", module=module),
        )
        for name, kernel in kernels.items()
        for module in ("actor", "critic")
    ]
    return draw_over_training(
        material, panels, "effective rank (directions)", style, panel_cm=2.6, least=2.0, shared=False
    )


@picture(
    Drift(),
    "How far the encoder's weights are from step 0, and how far they go from one checkpoint to the next, as a share "
    "of their earlier norm.",
)
def drift(material: Material, style: Style) -> Figure:
    """Draws the encoder's way, since step 0 and since the checkpoint before, as a share of its weights' norm."""
    equals: dict[str, Any] = {"probe": "drift", "metric": "update_to_weight", "layer": "", "module": "encoder"}
    panels = [
        ("since step 0", curves(material, "first", **equals)),
        ("from one to the next", curves(material, "before", **equals)),
    ]
    return draw_over_training(material, panels, "distance (% of norm)", style, panel_cm=3.2, least=5.0, scale=100)


@picture(
    GradientDormancy(),
    f"Units of each layer whose incoming weights get less than {_TAU:g} of their layer's mean gradient of "
    f"critic and actor together, at three checkpoints.",
    every=4,
)
def gradient_dormancy(material: Material, style: Style) -> Figure:
    """Draws the share of every hidden layer, and of the encoder."""
    equals: dict[str, Any] = {
        "probe": "gradient-dormancy",
        "metric": "gradient_dormant_fraction_joint",
        "threshold": _TAU,
    }
    panels = [(entry.name, curves(material, layer=entry.label, **equals)) for entry in material.layers]
    panels.append(("encoder", curves(material, aggregation="micro", module="encoder", **equals)))
    name = f"gradient-dormant units (%), tau = {_TAU:g}"
    return draw_over_training(material, panels, name, style, panel_cm=1.95, least=5.0, scale=100, ticks=4)


@picture(
    PolicyCollapse(),
    "How many of the 9 actions the policy uses at a typical state, and how much an action tells about the state.",
)
def policy_collapse(material: Material, style: Style) -> Figure:
    """Draws the number of actions and their information."""
    titles = {"effective_actions": "effective actions", "action_information": "information (nats)"}
    panels = [(title, curves(material, probe="policy-collapse", metric=metric)) for metric, title in titles.items()]
    return draw_over_training(material, panels, "", style, panel_cm=3.2, least=1e-3, shared=False)


@picture(Redundancy(), "Units that another unit of their layer follows: absolute correlation above 0.95.")
def redundancy(material: Material, style: Style) -> Figure:
    """Draws the correlated share of every layer."""
    equals: dict[str, Any] = {"probe": "redundancy", "metric": "correlated_fraction"}
    panels = [
        (entry.name, material.curves(**equals, aggregation="layer", label=entry.label)) for entry in material.layers
    ]
    return draw_over_training(
        material, panels, "correlated units (%)", style, panel_cm=1.95, least=5.0, scale=100, ticks=4
    )


@picture(RepresentationShift(), "Likeness (linear CKA) of every layer to itself at step 0, on the same observations.")
def representation_shift(material: Material, style: Style) -> Figure:
    """Draws every layer's CKA with its beginning."""
    ids = {entry["label"]: entry["layer"] for analysis in material.analyses for entry in analysis.layers}
    panels = [
        (entry.name, curves(material, "first", probe="representation-shift", layer=ids[entry.label]))
        for entry in material.layers
    ]
    return draw_over_training(material, panels, "CKA with step 0", style, panel_cm=1.95, least=1.0, ticks=4)


@picture(
    Value(),
    "How much of the variance of a random policy's returns the critic's values explain, and how far they lie above "
    "these returns.",
)
def value(material: Material, style: Style) -> Figure:
    """Draws the explained variance and the bias of the critic's values."""
    titles = {"explained_variance": "explained variance", "value_bias": "bias (return)"}
    panels = [
        (title, curves(material, probe="value", metric=metric, module="critic")) for metric, title in titles.items()
    ]
    return draw_over_training(material, panels, "", style, panel_cm=3.2, least=0.1, shared=False)


@picture(
    DormancyHistory(),
    "Mean number of checkpoints for which the dormant units of each layer (tau = 0.025) have been so. The line of "
    "ever the same units would rise by one a checkpoint.",
)
def dormancy_history(material: Material, style: Style) -> Figure:
    """Draws the age of every layer's dormant units."""
    equals: dict[str, Any] = {"probe": "dormancy-history", "metric": "dormant_age", "threshold": 0.025}
    panels = [
        (entry.name, material.curves(**equals, aggregation="layer", label=entry.label)) for entry in material.layers
    ]
    return draw_over_training(material, panels, "age (checkpoints)", style, panel_cm=1.95, least=2.0, ticks=4)
