"""Layer norms: the size of weights, features, pre-activations and gradients, and how it changes over depth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probe.depth import depth_ratio, log_slope, verdict
from probe.gradients import JOINT, LossGradient, OfflineGradients, check_losses
from probe.modules import ALL
from probe.passes import Observer, observed, offline_gradients
from probe.probes.base import Finding, Findings, Probe, Reading, Status, register, with_samples
from probe.probes.limits import InnerShare
from probe.sizes import LayerSizes, SizesObserver
from probe.subject import Subject
from probe.weights import WeightLayer, hidden_layers, named_tensors, owner, weight_layers


def tensor_readings(values: Float[Tensor, "..."]) -> list[Reading]:
    """Returns L2 norm, RMS, mean absolute value, largest absolute value and signed mean of a tensor's entries."""
    flat = values.detach().double().flatten()
    names = ("weight_l2", "weight_rms", "weight_mean_abs", "weight_max", "weight_mean")
    if not len(flat):
        return [Reading(name, None, "not_applicable") for name in names]
    if not bool(flat.isfinite().all()):
        return [Reading(name, None, "nonfinite") for name in names]
    norm = flat.norm().item()
    found = (norm, norm / sqrt(len(flat)), flat.abs().mean().item(), flat.abs().max().item(), flat.mean().item())
    return [Reading(name, value) for name, value in zip(names, found, strict=True)]


def depth_readings(quantity: str, values: Sequence[float], fall: float) -> list[Reading]:
    """Returns the log-slope over depth, last over first, and the verdict that this ratio gives.

    Args:
        quantity: What the metrics' names begin with.
        values: One a hidden layer, in call order.
        fall: A ratio below this vanishes, one above its inverse explodes.
    """
    few, ratio, slope = len(values) < 2, depth_ratio(values), log_slope(values)
    missing: Status = "not_applicable" if few else "degenerate"
    if any(not value < float("inf") for value in values):
        missing = "nonfinite"
    return [
        Reading(f"{quantity}_depth_log_slope", slope, missing if slope is None else "ok"),
        Reading(f"{quantity}_depth_ratio", ratio, missing if ratio is None else "ok"),
        Reading(f"{quantity}_depth_verdict", None if ratio is None else verdict(ratio, fall),
                missing if ratio is None else "ok", threshold=fall),
    ]  # fmt: skip


@register("layer-norms", version=3)
@dataclass(frozen=True)
class LayerNorms(Probe):
    """Sizes of weights, features, pre-activations and gradients of every layer, and whether they vanish or explode.

    Question: do weights grow, and does the signal or its gradient die out or blow up on its way through the layers?
    Formula: `weight_...` are of every parameter, of the weight in use where spectral normalisation stores another, and
        of all parameters of a module and of the network together; `feature_...` of every nonlinearity's output,
        `preactivation_...` of its input. `<loss>` is `critic`, the squared error to the stored return, or `actor`,
        `-log pi(action)` times the standardised return, as one of them reaches a parameter, or `joint`, their sum,
        where both do, as in an encoder that they share; with `losses=each` always the two by themselves. `<quantity>`
        is `feature_rms`, `preactivation_rms` or `gradient_rms_<loss>`, over a module's hidden layers in call order:
        - `weight_l2`, `weight_rms` (weight): `|w|_2`, and the same over `sqrt(entries)`
        - `weight_mean_abs`, `weight_max`, `weight_mean` (weight): mean and largest of |w|, mean of w with its sign
        - `feature_norm`, `preactivation_norm` (activation): mean over samples of the L2 norm
        - `feature_rms`, `preactivation_rms` (activation): root mean square of all values
        - `gradient_norm_<loss>` (loss per weight): L2 norm of the mean gradient of all parameters of a layer, and of
          the network, of the sum as in clipping by the global norm
        - `gradient_rms_<loss>` (loss per weight): root mean square, over a weight layer's units, of the norm of a
          unit's incoming gradient
        - `zero_gradient_fraction_<loss>` (share of entries): entries of a layer's mean gradient that are exactly 0
        - `<quantity>_depth_log_slope` (nats a layer): slope of the least-squares line through `ln(value)`
        - `<quantity>_depth_ratio` (ratio): last over first
        - `<quantity>_depth_verdict` (-1, 0 or 1; `fall`): -1 vanishes, ratio below the threshold; 1 explodes, above its
          inverse; else 0
    Axes: one number a tensor, layer or module; heads have norms of their own but are no part of the depth measures. The
        input of a CReLU or Fourier layer is z, half the output's width. A recurrent layer shows no input, a sample of
        its output is a time step, and a unit of its weights is a gate of a unit.
    Units: those of weights, activations, and of the loss over the weights.
    Cost: the forward pass that probes of a checkpoint share, and in it a backward pass, or one for each of the two
        losses with `losses=each`.
    Status: gradients `not_applicable` and null where the set has no returns, or where no loss, or not this one, reaches
        the layer; slope and ratio `not_applicable` below two hidden layers, `degenerate` where a value that they divide
        by or take the logarithm of is 0; `nonfinite` where a value is.
    Source: weights as Juliani & Ash 2024, arXiv:2405.19153 (RMS of all parameters) and Dohare et al. 2024,
        doi:10.1038/s41586-024-07711-7 (mean |w|); vanishing below 0.1 of the first layer is a convention without a
        source.
    Do not trust: norms of layers of unlike width side by side, use the RMS; a feature norm that stays flat while units
        die; gradients of sets collected with unlike policies; a joint gradient as the actor's: on plain returns the
        critic's share can outweigh it a hundredfold (`losses=each` tells them apart).
    """

    fall: InnerShare = 0.1
    """Ratio of the last to the first hidden layer below which a quantity vanishes."""
    losses: str = JOINT
    """`joint`, or `each` for the critic's and the actor's by themselves where they share parameters."""
    needs = "gradient"
    cost = "costly"

    def __post_init__(self) -> None:
        """Refuses losses that there are not."""
        super().__post_init__()
        check_losses(self.name, self.losses)

    def observer(self, subject: Subject) -> Observer:
        """Gathers the sizes of features and pre-activations."""
        return SizesObserver()

    def measure(self, subject: Subject) -> Findings:
        """Returns the readings of tensors, layers, modules and the network."""
        network = subject.network().eval()
        sizes = [each for each in observed(subject, self, SizesObserver).sizes if each.layer.id in subject.statistics]
        gradients = offline_gradients(subject, self.losses)
        hidden = hidden_layers(network, subject.layers)
        found = [*with_samples(_of_weights(subject, network), 0), *_of_features(sizes)]
        for name in ("feature", "preactivation"):
            seen = [(each.layer.id, each.rms(name)) for each in sizes if name in each.values]
            found += self._over_depth(subject, f"{name}_rms", seen)
        found += _of_gradients(gradients, network)
        for module in subject.modules.names:
            of_module = [layer for layer in hidden if subject.modules.module_of(layer.path) == module]
            for loss in gradients.names(layer.parameter for layer in of_module):
                gradient = gradients.by_loss.get(loss)
                values = [value for layer in of_module if (value := _unit_rms(gradient, layer)) is not None]
                depth = self._depth(module, f"gradient_rms_{loss}", values)
                found += with_samples(depth, _samples(gradient))
        return Findings(found)

    def _over_depth(self, subject: Subject, quantity: str, chain: Sequence[tuple[str, float]]) -> Iterator[Finding]:
        for module in subject.modules.names:
            values = [value for layer, value in chain if subject.modules.module_of(layer) == module]
            yield from self._depth(module, quantity, values)

    def _depth(self, module: str, quantity: str, values: Sequence[float]) -> Iterator[Finding]:
        yield from (Finding(each, module=module) for each in depth_readings(quantity, values, self.fall))


def _of_weights(subject: Subject, network: nn.Module) -> Iterator[Finding]:
    for name, tensor in named_tensors(network).items():
        units = len(tensor) if tensor.ndim else 1
        yield from (Finding(each, layer=name, units=units) for each in tensor_readings(tensor))
    parameters = [(name, parameter.detach().flatten()) for name, parameter in network.named_parameters()]
    for module in (*subject.modules.names, ALL):
        own = [flat for name, flat in parameters if module in subject.modules.averages_of(name)]
        entries = torch.cat(own) if own else torch.zeros(0)
        yield from (Finding(each, module=module) for each in tensor_readings(entries))


def _of_features(sizes: Sequence[LayerSizes]) -> Iterator[Finding]:
    for each in sizes:
        for name in each.values:
            for metric, value in ((f"{name}_norm", each.mean_norm(name)), (f"{name}_rms", each.rms(name))):
                yield Finding(_finite(metric, value), layer=each.layer.id, units=each.units)


def _of_gradients(gradients: OfflineGradients, network: nn.Module) -> Iterator[Finding]:
    by_layer = {loss: each.by_layer() for loss, each in gradients.by_loss.items()}
    paths: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        paths.setdefault(owner(name), []).append(name)
    for path, parameters in paths.items():
        for loss in gradients.names(parameters):
            entries = by_layer.get(loss, {}).get(path)
            yield from with_samples(_of_layer(loss, path, entries), _samples(gradients.by_loss.get(loss)))
    for layer in weight_layers(network):
        for loss in gradients.names([layer.parameter]):
            gradient = gradients.by_loss.get(loss)
            reading = _finite(f"gradient_rms_{loss}", _unit_rms(gradient, layer))
            yield Finding(reading, layer=layer.path, units=layer.units, samples=_samples(gradient))
    for loss, whole in gradients.wholes():
        norm = None if whole is None else torch.cat(list(whole.by_layer().values())).norm().item()
        yield Finding(_finite(f"gradient_norm_{loss}", norm), samples=_samples(whole))


def _of_layer(loss: str, path: str, entries: Float[Tensor, "entry"] | None) -> Iterator[Finding]:
    norm = None if entries is None else entries.norm().item()
    zero = None if entries is None or not bool(entries.isfinite().all()) else (entries == 0).double().mean().item()
    yield Finding(_finite(f"gradient_norm_{loss}", norm), layer=path)
    status: Status = "not_applicable" if entries is None else "nonfinite" if zero is None else "ok"
    weight = None if entries is None else len(entries)
    yield Finding(Reading(f"zero_gradient_fraction_{loss}", zero, status, weight=weight), layer=path)


def _samples(gradient: LossGradient | None) -> int:
    return 0 if gradient is None else gradient.samples


def _unit_rms(gradient: LossGradient | None, layer: WeightLayer) -> float | None:
    entries = None if gradient is None else gradient.of(layer)
    return None if entries is None else float(entries.norm()) / sqrt(layer.units)


def _finite(metric: str, value: float | None) -> Reading:
    if value is None:
        return Reading(metric, None, "not_applicable")
    return Reading(metric, value) if value < float("inf") else Reading(metric, None, "nonfinite")
