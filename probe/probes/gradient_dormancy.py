"""Gradient dormancy: which units' incoming weights get next to no gradient beside their layer's mean."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probe.gradients import JOINT, check_losses, unit_norms
from probe.passes import offline_gradients
from probe.probes.base import Arrays, Finding, Findings, Probe, Reading, Status, register
from probe.probes.limits import NotNegatives
from probe.subject import Subject
from probe.weights import hidden_layers


def gradient_dormant(norms: Float[Tensor, "unit"], tau: float) -> Bool[Tensor, "unit"]:
    """Returns which units' gradient norms are below tau times the layer's mean; all of them where there is none."""
    return norms < tau * norms.mean() if bool(norms.any()) else torch.ones_like(norms, dtype=torch.bool)


@register("gradient-dormancy", version=2)
@dataclass(frozen=True)
class GradientDormancy(Probe):
    """Fraction of units whose incoming weights' gradient is below tau times the layer's mean.

    Question: which share of a layer hardly learns from the data, whatever its activation function?
    Formula: g_i is the gradient of the loss's mean over the set with regard to unit i's incoming weights, without its
        bias. `<loss>` is `critic`, the squared error to the stored return, or `actor`, `-log pi(action)` times the
        standardised return, as one of them reaches the layer, or `joint`, their sum, where both do, as in an encoder
        that they share; with `losses=each` always the two by themselves. Over the rows that have a return:
        - `gradient_dormant_fraction_<loss>` (share of units; `thresholds`): `mean_i 1(|g_i|_2 < tau mean_k |g_k|_2)`;
          modules average over their hidden layers, each against its own mean, by units (`micro`) and by layers
          (`macro`)
    Axes: a unit is an output of the weight layer, in a convolution a channel, in a recurrent module's weight a gate of
        a unit; output heads are left out.
    Units: fractions in [0, 1]; thresholds are dimensionless.
    Cost: the forward pass that probes of a checkpoint share, and in it a backward pass, or one for each of the two
        losses with `losses=each`.
    Status: `degenerate` and 1.0 where no unit gets any gradient; `not_applicable` and null where the set has no
        returns, or where no loss, or not this one, reaches the layer; `nonfinite` where a gradient is.
    Source: DrM's published code in its later form (strict <); after Xu et al. 2024, arXiv:2310.19668.
    Do not trust: a single layer's fraction near convergence, where the mean gradient over a set cancels; sets collected
        with another policy than the checkpoint's for more than a comparison between checkpoints; a joint gradient as
        the actor's: on plain returns the critic's share can outweigh it a hundredfold (`losses=each` tells them apart).
    """

    thresholds: NotNegatives = (0.025, 0.1)
    """Values of tau."""
    losses: str = JOINT
    """`joint`, or `each` for the critic's and the actor's by themselves where they share parameters."""
    needs = "gradient"
    cost = "costly"

    def __post_init__(self) -> None:
        """Refuses losses that there are not."""
        super().__post_init__()
        check_losses(self.name, self.losses)

    def measure(self, subject: Subject) -> Findings:
        """Returns the fractions of each hidden layer at each threshold, and the units' norms as arrays."""
        network = subject.network()
        gradients = offline_gradients(subject, self.losses)
        hidden = hidden_layers(network, subject.layers)
        found: list[Finding] = []
        arrays: Arrays = {}
        for layer in hidden:
            for loss in gradients.names([layer.parameter]):
                of_loss = gradients.by_loss.get(loss)
                gradient = None if of_loss is None else of_loss.of(layer)
                norms = None if gradient is None else unit_norms(gradient, layer.unit_axis)
                if norms is not None:
                    arrays.setdefault(layer.path, {})[f"gradient_unit_norms_{loss}"] = norms.numpy()
                samples = 0 if of_loss is None else of_loss.samples
                for reading in self._readings(f"gradient_dormant_fraction_{loss}", norms, layer.units):
                    found.append(Finding(reading, layer=layer.path, units=layer.units, samples=samples))
        return Findings(found, arrays)

    def _readings(self, metric: str, norms: Tensor | None, units: int) -> Iterator[Reading]:
        status: Status = "ok"
        if norms is None:
            status = "not_applicable"
        elif not bool(norms.isfinite().all()):
            status = "nonfinite"
        elif not bool(norms.any()):
            status = "degenerate"
        for tau in self.thresholds:
            value = None
            if norms is not None and status != "nonfinite":
                value = gradient_dormant(norms, tau).double().mean().item()
            yield Reading(metric, value, status, threshold=tau, weight=units)
