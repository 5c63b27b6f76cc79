"""Plasticine's metrics: dormant and active units, ranks and norms."""

from collections.abc import Iterator
from types import ModuleType

import torch
from torch import nn

from probe.capture import Layer
from probe.probes.dormancy import Dormancy
from probe.probes.drift import drift_readings
from probe.probes.fau import Fau
from probe.probes.rank import Rank, effective_rank
from probe.probes.saturation import saturated_values
from probe.sizes import LayerSizes
from tests.benchmarks.public_code.activations import Activations, captured, edges
from tests.benchmarks.public_code.checkout import Checkout
from tests.benchmarks.public_code.comparison import Comparison
from tests.benchmarks.public_code.material import Material
from tests.benchmarks.public_code.rules import ZERO_MATRIX, entropy_rule

_TAUS = (0.0, 0.025, 0.1)


def compare(checkout: Checkout, material: Material) -> Iterator[Comparison]:
    """Yields every function of its metrics on conv64, and on the layers where they could differ."""
    metrics = checkout.module("plasticine_metrics.metrics")
    for tau in _TAUS:
        theirs = metrics.compute_dormant_units(material.encoder_network, material.scaled, "relu", tau)
        probe = Dormancy(thresholds=(tau,))
        micro, macro = (material.encoder.average(probe, "dormant_fraction", how) for how in ("micro", "macro"))
        yield Comparison(
            f"dormant share, tau {tau:g}", "conv64", theirs, micro, "is the mean of layers, our macro", macro
        )
    features, probe = material.features, Dormancy(thresholds=(0.025,))
    network = nn.Sequential(material.dense, nn.ReLU())
    theirs = metrics.compute_dormant_units(network, material.dense_input, "relu", 0.025)
    ours = features.reading(probe, "dormant_fraction")
    yield Comparison("dormant share, tau 0.025", features.name, theirs, ours)
    yield _shared(metrics, material)
    yield from _activity(metrics, features)
    yield from _norms(metrics, material)
    rule, reading = "is the srank", features.reading(Rank(), "stable_rank")
    theirs = metrics.compute_stable_rank(features.only)
    yield Comparison("stable rank", features.name, theirs, reading, rule, features.reading(Rank(), "srank"))
    for subject in (features, features.double(), *edges()):
        yield from _ranks(metrics, subject)


def _shared(metrics: ModuleType, material: Material) -> Comparison:
    """Compares on a network that calls one ReLU module twice."""
    relu, inputs = nn.ReLU(), material.dense_input
    network = nn.Sequential(relu, material.dense, relu)
    both, probe = captured("one ReLU module for two layers", network, inputs), Dormancy(thresholds=(0.025,))
    theirs = metrics.compute_dormant_units(network, inputs, "relu", 0.025)
    ours, by_rule = both.average(probe, "dormant_fraction"), material.features.reading(probe, "dormant_fraction")
    return Comparison("dormant share, tau 0.025", both.name, theirs, ours, "keeps a module's last call", by_rule)


def _activity(metrics: ModuleType, features: Activations) -> Iterator[Comparison]:
    theirs = metrics.compute_active_units(features.only, "relu")
    yield Comparison("active units", features.name, theirs, features.reading(Fau(), "fau"))
    wide = torch.tanh(3 * (features.only - features.only.mean()) / features.only.std())
    ours = 1 - saturated_values("tanh", wide, 0.01).double().mean()
    yield Comparison("active units", "tanh of the features", metrics.compute_active_units(wide, "tanh"), ours)


def _norms(metrics: ModuleType, material: Material) -> Iterator[Comparison]:
    features = material.features
    sizes = LayerSizes(Layer("", "", "", "relu", 0), samples=len(features.only))
    sizes.add("feature", features.only)
    theirs = metrics.compute_feature_norm(features.only)
    yield Comparison("feature norm", features.name, theirs, sizes.mean_norm("feature"))
    theirs = metrics.compute_l2_norm_difference(material.network, dict(material.other.named_parameters()))
    drift = {each.metric: each.value for each in drift_readings(*material.weights)}
    yield Comparison("weight difference, RMS", "conv64 and a new one", theirs, drift["weight_drift_rms"])


def _ranks(metrics: ModuleType, subject: Activations) -> Iterator[Comparison]:
    ours, rule = subject.reading(Rank(), "srank"), ZERO_MATRIX if subject.silent else ""
    theirs = metrics.compute_stable_rank(subject.only)
    yield Comparison("srank, as stable rank", subject.name, theirs, ours, rule, max(ours, 1))
    by_rule = effective_rank(torch.linalg.svdvals(subject.only)) or 1.0
    theirs, ours = metrics.compute_effective_rank(subject.only), subject.reading(Rank(), "effective_rank")
    yield Comparison("effective rank", subject.name, theirs, ours, entropy_rule(subject), by_rule)
