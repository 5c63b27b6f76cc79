"""What every probe keeps to: it changes nothing, survives any network, and takes units and observations as sets."""

from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.capture import Activations
from probe.files import tensor_digest
from probe.modules import ModuleMap
from probe.probes.aliasing import Aliasing
from probe.probes.base import Findings, Probe, registry
from probe.probes.churn import Churn
from probe.probes.curvature import Curvature
from probe.probes.drift import Drift
from probe.probes.fitting import Fitting
from probe.probes.gradient_dormancy import GradientDormancy
from probe.probes.injection import Injection
from probe.probes.layer_norms import LayerNorms
from probe.probes.primacy import Primacy
from probe.probes.pruning import Pruning
from probe.probes.signal import Signal
from probe.probes.spectral_norm import SpectralNorms
from probe.probes.value import Value
from probe.readings import Context, rows_of_checkpoint, rows_of_findings, rows_of_pair
from probe.results import Row
from probe.subject import Point, Subject
from tests.probe.probes.held import Factory, Held, subject_at
from tests.probe.probes.small_networks import (
    Clamped,
    Opaque,
    Streaming,
    Unfolding,
    convolutional,
    dead,
    dense,
    images,
    linear,
    paired,
    permuted,
    trained,
)

QUICK: Mapping[str, Probe] = {
    each.name: each
    for each in (
        Curvature(samples=24, iterations=3, eigenvalues=2),
        Fitting(steps=2, batch=16, draws=2),
        Injection(steps=2, batch=16, draws=2),
        Primacy(steps=2, batch=16, draws=2),
        Pruning(draws=1),
        Signal(permutations=3, directions=(1, 3), spacing=1),
        SpectralNorms(restarts=2, iterations=5, report=(1, 5), limit=20),
    )
}
PROBES = [QUICK[name] if name in QUICK else probe() for name, probe in registry().items()]
every_probe = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)

SAMPLES = 24
OBSERVATIONS = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(7))
RNG = np.random.default_rng(7)
COLUMNS: Mapping[str, Any] = {
    "actions": RNG.integers(0, 2, SAMPLES),
    "returns": np.where(np.arange(SAMPLES) % 4 == 3, np.nan, RNG.standard_normal(SAMPLES)),
    "episodes": np.arange(SAMPLES) // 4,
}


class Watched(Held):
    """Keeps every network that it hands out."""

    def __init__(self, network: nn.Module, fresh: Factory | None) -> None:
        super().__init__(network, fresh)
        self.original, self.handed = network, list[nn.Module]()

    def network(self) -> nn.Module:
        self.handed.append(super().network())
        return self.handed[-1]


def pair(
    earlier: nn.Module,
    later: nn.Module,
    observations: Tensor = OBSERVATIONS,
    columns: Mapping[str, Any] = COLUMNS,
    fresh: Factory | None = dense,
    activations: Activations | None = None,
) -> tuple[Subject, Subject]:
    first, second = (
        subject_at(Watched(each, fresh), observations, dict(columns), task, activations)
        for task, each in enumerate((earlier, later))
    )
    return first, second


def findings_of(probe: Probe, earlier: Subject, later: Subject) -> list[Findings]:
    if probe.needs == "pair":
        return [probe.measure_pair(earlier, later)]
    if probe.needs == "sets":
        early = Subject(later.checkpoint, earlier.observations, later.statistics, later.layers)
        return [probe.measure_sets([early, later])]
    if probe.needs == "series":
        both = enumerate((earlier, later))
        return list(probe.measure_series([Point(step, 0, each.modules, each.statistics) for step, each in both]))
    return [probe.measure(later)]


def rows_of(probe: Probe, earlier: Subject, later: Subject) -> list[Row]:
    """Everything that an analysis would hold of a probe."""
    facts = {"run": "r", "method": "m", "seed": 0, "task": 0, "step": 100}
    at = Context(facts, "c", "d", ModuleMap.of(("encoder", "actor", "critic")))
    if probe.needs == "activation":
        layers = later.statistics
        return [
            *rows_of_checkpoint(at, [probe], layers, layers),
            *rows_of_pair(at, [probe], earlier.statistics, layers),
        ]
    found = findings_of(probe, earlier, later)
    return [row for each in found for row in rows_of_findings(at, probe.name, each, later.count)]


def sound(rows: list[Row]) -> bool:
    """Whether every row has a number, or a status that says why not, and no number where there is none."""
    return all(
        isfinite(row.value)
        if not isnan(row.value)
        else row.status in ("low_sample", "degenerate", "nonfinite", "not_applicable")
        for row in rows
    )


def digest(network: nn.Module) -> str:
    arrays = {name: each.detach().contiguous().numpy() for name, each in network.state_dict().items()}
    return tensor_digest(arrays, {})


CHANGES_ITS_COPY = {
    "fitting": "trains it",
    "injection": "trains it",
    "primacy": "trains it",
    "spectral-norm": "takes the encoder to float64",
}


@every_probe
def test_probing_changes_nothing(probe: Probe) -> None:
    later = Opaque(0)
    with torch.no_grad():
        for _ in range(3):
            later(OBSERVATIONS)  # so that every buffer holds something
    observations = OBSERVATIONS.clone()
    subjects = pair(Opaque(1), later, observations, fresh=Opaque)
    modes = [module.training for module in later.modules()]
    before, given = digest(later), [digest(each.checkpoint.network()) for each in subjects]
    statistics = {name: each.to_arrays() for name, each in subjects[1].statistics.items()}
    streams = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    rows_of(probe, *subjects)
    assert digest(later) == before and [module.training for module in later.modules()] == modes
    assert all(parameter.grad is None for parameter in later.parameters())
    assert observations.equal(OBSERVATIONS)
    for name, each in subjects[1].statistics.items():
        assert all(np.array_equal(array, statistics[name][key]) for key, array in each.to_arrays().items())
    assert torch.get_rng_state().equal(streams[0]) and np.random.get_state()[1].tolist() == streams[1]  # type: ignore[index, union-attr]
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    if probe.name not in CHANGES_ITS_COPY:
        for subject, expected in zip(subjects, given, strict=True):
            assert isinstance(subject.checkpoint, Watched)
            for network in subject.checkpoint.handed:
                assert digest(network) == expected
                assert not any(module.training for module in network.modules())
                assert all(parameter.grad is None for parameter in network.parameters())
                assert not any(module._forward_hooks for module in network.modules())


@every_probe
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@torch.no_grad()
def test_weights_that_are_not_finite_are_nonfinite(probe: Probe, bad: float) -> None:
    network = dense(0)
    network.get_parameter("encoder.dense1.weight")[0, 0] = bad
    with torch.enable_grad():
        rows = rows_of(probe, *pair(dense(1), network))
    assert sound(rows) and "nonfinite" in {row.status for row in rows}


CASES: Mapping[str, tuple[Factory, Tensor]] = {
    "all dead": (dead, OBSERVATIONS),
    "fewer samples than units": (dense, OBSERVATIONS[:5]),
    "one sample": (dense, OBSERVATIONS[:1]),
    "equal samples": (dense, OBSERVATIONS[:1].repeat(20, 1)),
    "any module": (lambda seed: Opaque(seed).eval(), OBSERVATIONS),
    "convolution": (convolutional, images(20)),
    "one unit a layer": (lambda seed: dense(seed, width=1), OBSERVATIONS),
    "no hidden layer": (linear, OBSERVATIONS),
    "crelu": (lambda seed: paired(seed, "crelu"), images(20)),
    "fourier": (lambda seed: paired(seed, "fourier"), images(20)),
    "several time steps an observation": (Unfolding, OBSERVATIONS),
    "a time step an observation": (Streaming, OBSERVATIONS),
    "declared": (Clamped, OBSERVATIONS),
}
DECLARED: Mapping[str, Activations] = {"declared": {"torch.clamp": "relu"}}


@every_probe
@pytest.mark.parametrize("case", CASES)
def test_every_network_and_set_gives_numbers_or_says_why_not(probe: Probe, case: str) -> None:
    make, observations = CASES[case]
    columns = {name: values[: len(observations)] for name, values in COLUMNS.items()}
    assert sound(rows_of(probe, *pair(make(1), make(0), observations, columns, make, DECLARED.get(case))))


UNIT_ORDER_MATTERS = {
    ("spectral-norm", "power_error"): "starting vectors are drawn in the order of the units",
    ("spectral-norm", "iterations_to"): "likewise",
    ("curvature", "hessian"): "Lanczos starts from a vector drawn in the order of the parameters, and stops early",
    ("signal", "rank_above_null"): "permutations are drawn column by column",
    ("signal", "deflated_rank_above_null"): "likewise",
    ("signal", "surviving_overlap"): "likewise",
    ("pruning", "random"): "random units are drawn by number",
    ("injection", "injected"): "the new head's units are drawn in an order of their own",
    ("injection", "loss_"): "likewise, of the injected arm",
    ("injection", "sign_flip_p"): "likewise",
}


def numbers(rows: list[Row], exceptions: Mapping[tuple[str, str], str]) -> dict[tuple[object, ...], float]:
    return {
        row.key: row.value
        for row in rows
        if not any(
            row.probe == probe and (row.metric.startswith(name) or row.arm == name) for probe, name in exceptions
        )
    }


@every_probe
def test_the_order_of_hidden_units_means_nothing(probe: Probe) -> None:
    plain = numbers(rows_of(probe, *pair(trained(0), trained(1))), UNIT_ORDER_MATTERS)
    mixed = numbers(rows_of(probe, *pair(permuted(trained(0), 5), permuted(trained(1), 5))), UNIT_ORDER_MATTERS)
    assert any(isfinite(value) for value in plain.values())
    assert mixed == pytest.approx(plain, rel=1e-6, abs=1e-6, nan_ok=True)


OBSERVATION_ORDER_MATTERS = {
    ("fitting", ""): "observations enter a step in the order drawn for their numbers",
    ("injection", ""): "likewise",
    ("primacy", "random_network"): "likewise",
    ("primacy", "label_shuffle"): "likewise",
    ("signal", "rank_above_null"): "permutations are drawn row by row",
    ("signal", "deflated_rank_above_null"): "likewise",
    ("signal", "surviving_overlap"): "likewise",
    ("signal", "row_autocorrelation"): "it is about the order",
}


@every_probe
def test_the_order_of_observations_means_nothing(probe: Probe) -> None:
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(1))
    columns = {name: values[order.numpy()] for name, values in COLUMNS.items()}
    plain = numbers(rows_of(probe, *pair(trained(0), trained(1))), OBSERVATION_ORDER_MATTERS)
    mixed = numbers(
        rows_of(probe, *pair(trained(0), trained(1), OBSERVATIONS[order], columns)), OBSERVATION_ORDER_MATTERS
    )
    assert mixed == pytest.approx(plain, rel=1e-6, abs=1e-6, nan_ok=True)


KNOWN = 18
"""Observations that have a return."""
USED: Mapping[Probe, Mapping[str, int]] = {
    Aliasing(rows=8): {"": 6},
    Churn(): {"": SAMPLES},
    Curvature(samples=8, iterations=2): {
        "ntk": 8,
        "fisher": 6,
        "gradient": 6,
        "hessian": 6,
        "covariance": 6,
        "slice": 6,
    },
    Drift(): {"": 0},
    Fitting(steps=1, draws=1, samples=10): {"": 10},
    GradientDormancy(): {"": KNOWN},
    Injection(steps=1, draws=1, samples=10): {"": 10},
    LayerNorms(): {"weight": 0, "feature": SAMPLES, "preactivation": SAMPLES, "gradient": KNOWN, "zero": KNOWN},
    Primacy(steps=1, draws=1, samples=10): {"random": 10, "label": 10, "value_error_gap": 2 * KNOWN},
    Signal(rows=20, permutations=2, spacing=1): {"": 12},
    SpectralNorms(limit=20, pairs_among=10): {"sigma": 0, "lipschitz_observed": 10, "lipschitz_bound": 0},
    Value(): {"": KNOWN},
}


@pytest.mark.parametrize("probe", USED, ids=lambda probe: probe.name)
def test_every_row_states_the_observations_behind_it(probe: Probe) -> None:
    rows = rows_of(probe, *pair(trained(0), trained(1)))
    for prefix, samples in USED[probe].items():
        assert {row.samples for row in rows if row.metric.startswith(prefix)} == {samples}
