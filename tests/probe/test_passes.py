"""The shared pass: the same findings as alone, each observation seen once, gradients only where somebody asks."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.analysis import plan
from probe.capture import Layer
from probe.checkpoints import open_series
from probe.examination import pieces
from probe.observations import open_observations
from probe.passes import Observer, observed, offline_gradients, share_pass
from probe.probes.aliasing import Aliasing
from probe.probes.base import Finding, Findings, Probe, registry
from probe.probes.gradient_dormancy import GradientDormancy
from probe.probes.layer_norms import LayerNorms
from probe.probes.policy_collapse import PolicyCollapse, PolicyObserver
from probe.probes.redundancy import Redundancy
from probe.probes.saturation import Saturation
from probe.probes.signal import Signal
from probe.probes.spectral_norm import SpectralNorms
from probe.probes.value import Value
from probe.sizes import SizesObserver, squared_norms
from tests.probe.probes.test_gradient_probes import SAMPLES, mlp, subject_of
from tests.probe.series import write_observations, write_series

SHARING = (
    *(LayerNorms(), GradientDormancy(), Saturation(), Redundancy(), PolicyCollapse(), Value()),
    *(Signal(permutations=2, directions=(1,), spacing=2), Aliasing(rows=40)),
)
TELLING_APART = (LayerNorms(losses="each"), GradientDormancy(losses="each"), *SHARING[2:])


class Counting(Observer):
    """Counts rows."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()

    def see_layer(self, layer: Layer, output: Tensor, pre_activation: Tensor | None) -> None:
        assert not output.requires_grad
        self.rows[layer.id] += len(output)

    def see_outputs(self, outputs: Any, rows: Tensor) -> None:
        assert len(rows) == len(outputs["actor"])
        self.rows["actor"] += len(outputs["actor"])


class CountingProbe(Probe):
    name, version = "counting", 1

    def observer(self, subject: Any) -> Observer:
        return Counting()


def number(finding: Finding) -> float:
    value = finding.reading.value
    return math.nan if value is None else value


def values(findings: Findings) -> dict[tuple[str, str, str, float | None], Finding]:
    return {(f.layer, f.module, f.reading.metric, f.reading.threshold): f for f in findings.readings}


class Bounded(nn.Module):
    """The MLP with tanh."""

    def __init__(self) -> None:
        super().__init__()
        layers = mlp().get_submodule("encoder")
        self.encoder = nn.Sequential(
            layers.get_submodule("dense1"), nn.Tanh(), layers.get_submodule("dense2"), nn.Tanh()
        )
        self.actor, self.critic = mlp().get_submodule("actor"), mlp().get_submodule("critic")

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(observations)
        return {"actor": self.actor(hidden), "critic": self.critic(hidden)}


@pytest.mark.parametrize("network", [mlp, Bounded])
@pytest.mark.parametrize("probe", SHARING, ids=lambda probe: probe.name)
def test_a_probe_finds_in_company_what_it_finds_alone(probe: Probe, network: Callable[[], nn.Module]) -> None:
    together, alone = subject_of(network()), subject_of(network())
    share_pass(together, SHARING)
    found, expected = values(probe.measure(together)), values(probe.measure(alone))
    assert found.keys() == expected.keys()
    for key, each in expected.items():
        assert found[key].reading.status == each.reading.status
        assert number(found[key]) == pytest.approx(number(each), rel=1e-6, abs=1e-12, nan_ok=True), key


def test_gradients_in_company_are_those_of_a_pass_of_their_own() -> None:
    together, alone = subject_of(mlp()), subject_of(mlp())
    share_pass(together, [*SHARING, *TELLING_APART])
    for losses in ("joint", "each"):
        for loss, gradient in offline_gradients(alone, losses).by_loss.items():
            for name, values_alone in gradient.parameters.items():
                found = offline_gradients(together, losses).by_loss[loss].parameters[name]
                torch.testing.assert_close(found, values_alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("missing", [0, 20, 64, SAMPLES])
def test_every_row_is_seen_once_whether_it_has_a_return_or_not(missing: int) -> None:
    subject, counting = subject_of(mlp(), missing), CountingProbe()
    share_pass(subject, [counting, GradientDormancy()])
    rows = observed(subject, counting, Counting).rows
    assert rows == {"encoder.relu1": SAMPLES, "encoder.relu2": SAMPLES, "actor": SAMPLES}
    assert bool(offline_gradients(subject).by_loss) == (missing < SAMPLES)


def test_the_pass_is_made_once_for_all_that_share_it() -> None:
    subject = subject_of(mlp())
    share_pass(subject, SHARING)
    observers = [observed(subject, SHARING[0], SizesObserver), observed(subject, SHARING[4], PolicyObserver)]
    gradients = offline_gradients(subject)
    for probe in SHARING:
        probe.measure(subject)
    assert observed(subject, SHARING[0], SizesObserver) is observers[0]
    assert observed(subject, SHARING[4], PolicyObserver) is observers[1]
    assert offline_gradients(subject) is gradients


def counted(network: nn.Module) -> Counter[str]:
    """Counts backward passes through the network's encoder, also through its copies."""
    passes: Counter[str] = Counter()
    network.get_submodule("encoder.dense2").register_full_backward_hook(lambda *_: passes.update(["backward"]))
    return passes


def test_who_tells_the_losses_apart_and_who_does_not_each_get_their_own_once() -> None:
    network = mlp()
    passes, subject = counted(network), subject_of(network, missing=0)
    share_pass(subject, [LayerNorms()])
    joint, each = offline_gradients(subject), offline_gradients(subject, "each")
    assert set(joint.by_loss) == {"joint", "critic", "actor"} and set(each.by_loss) == {"critic", "actor"}
    share_pass(subject, [PolicyCollapse()])
    assert offline_gradients(subject) is joint and offline_gradients(subject, "each") is each
    assert passes["backward"] == 1 + 2


@pytest.mark.parametrize(
    ("probes", "passes"), [(SHARING, 1), (TELLING_APART, 2), ([*SHARING, *TELLING_APART], 3), (SHARING[2:], 0)]
)
def test_one_backward_pass_feeds_all_gradient_probes_two_where_losses_are_told_apart(
    probes: Sequence[Probe], passes: int
) -> None:
    network = mlp()
    found = counted(network)
    share_pass(subject_of(network, missing=0), probes)
    assert found["backward"] == passes


def test_nobody_gets_another_kind_of_observer() -> None:
    with pytest.raises(TypeError, match="SizesObserver, a PolicyObserver was expected"):
        observed(subject_of(mlp()), LayerNorms(), PolicyObserver)


def test_probes_of_one_checkpoint_that_share_a_pass_are_one_piece(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run", (0, 100)), write_observations(tmp_path / "o.h5", samples=60)
    planned = plan(open_series([run]), [open_observations(data)], tmp_path / "a.h5", [*SHARING, SpectralNorms()])
    groups = [(piece[0].checkpoint.step, {each.probe.name for each in piece}) for piece in pieces(planned.examinations)]
    names = {probe.name for probe in SHARING}
    assert sorted(groups, key=str) == sorted(
        [(step, each) for step in (0, 100) for each in (names, {"spectral-norm"})], key=str
    )


def test_a_piece_that_was_interrupted_goes_on_with_the_probes_that_are_missing(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run", (0,)), write_observations(tmp_path / "o.h5", samples=60)

    def planned(name: str) -> Any:
        made = plan(open_series([run]), [open_observations(data)], tmp_path / name, SHARING)
        list(made.measure())
        return made

    whole, cut = planned("whole.h5"), planned("cut.h5")
    list(whole.examine())
    list(cut.examine())
    for name in ("layer-norms", "saturation"):
        (part,) = (tmp_path / "cut.h5.parts").glob(f"{name}-*")
        part.unlink()
    again = planned("cut.h5")
    assert [each.probe.name for each in again.examine()] == ["layer-norms", "saturation"]
    with whole.assemble() as first, again.assemble() as second:
        for name, column in first.rows.items():
            np.testing.assert_array_equal(column, second.rows[name])


def test_only_probes_that_say_so_share_a_pass() -> None:
    sharing = {name for name, cls in registry().items() if cls().shares_pass}
    assert sharing == {probe.name for probe in SHARING}


@pytest.mark.parametrize("shape", [(3, 5), (3, 600), (2, 7, 9), (3, 8, 6, 6), (2, 300, 4, 4)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_squared_norms_are_those_of_float64(shape: tuple[int, ...], channels_last: bool) -> None:
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if channels_last and len(shape) == 4:
        given = given.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(squared_norms(given), given.double().flatten(1).square().sum(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-25, 0.0, 1e25])
def test_squares_that_float32_cannot_hold_are_taken_in_float64(scale: float) -> None:
    given = torch.full((2, 300), scale)
    assert squared_norms(given).tolist() == pytest.approx([300 * float(given[0, 0]) ** 2] * 2, rel=1e-12)


def test_frozen_networks_and_foreign_outputs_have_no_gradients() -> None:
    frozen = mlp().requires_grad_(False)
    for losses in ("joint", "each"):
        assert offline_gradients(subject_of(frozen), losses).by_loss == {}
        assert offline_gradients(subject_of(nn.Linear(4, 2)), losses).by_loss == {}
