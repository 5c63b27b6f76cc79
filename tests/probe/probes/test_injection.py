"""The offline detector: verdicts by hand, a killed head found, a healthy one not, too few draws undecided."""

from pathlib import Path

import pytest
import torch
from torch import nn

from probe.analysis import analyze
from probe.errors import ConfigurationError
from probe.networks import build, preset
from probe.probes.base import Reading
from probe.probes.injection import Injection, verdict
from tests.probe.probes.held import subject_of
from tests.probe.series import kill, write_observations, write_series

OBSERVATIONS = torch.randn(256, 4, generator=torch.Generator().manual_seed(1))
SHORT = Injection(steps=80, batch=128, learning_rate=0.01)


def mlp(seed: int) -> nn.Module:
    return build(preset("mlp", (4,), 2, 32), torch.Generator().manual_seed(seed))


def measured(network: nn.Module, probe: Injection = SHORT) -> dict[str, Reading]:
    found = probe.measure(subject_of(network, OBSERVATIONS, mlp)).readings
    return {each.reading.metric: each.reading for each in found if each.draw == -1}


@pytest.mark.parametrize(
    ("controls", "injected", "expected"),
    [
        ([1.0, 0.9, 1.1, 1.0, 0.95], [0.1, 0.12, 0.11, 0.1, 0.09], 1),
        ([1.0, 0.9, 1.1, 1.0, 0.95], [0.99, 0.89, 1.09, 0.99, 0.94], 0),  # always better, by 1 %
        ([0.1, 0.1, 0.1, 0.1, 0.1], [1.0, 0.9, 1.1, 1.0, 0.95], 0),
        ([1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1], None),
        ([1.0, 1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1, 0.0], None),
    ],
)
def test_verdicts_by_hand(controls: list[float], injected: list[float], expected: int | None) -> None:
    assert verdict(controls, injected, margin=1.1) == expected


def test_a_head_killed_by_bias_is_found() -> None:
    network = mlp(0)
    kill(network, 32)
    found = measured(network)
    assert found["verdict"] == Reading("verdict", 1, "ok", 1.1)
    assert found["sign_flip_p"].value == 1 / 32
    assert (found["loss_difference_low"].value or 0) > 0 and (found["loss_ratio"].value or 0) > 1.5


def test_a_new_network_gives_no_evidence() -> None:
    assert measured(mlp(0))["verdict"].value == 0


def test_few_draws_are_undecided_and_one_has_no_interval() -> None:
    found = measured(mlp(0), Injection(steps=3, batch=64, draws=1))
    assert (found["verdict"].value, found["verdict"].status) == (None, "low_sample")
    assert (found["loss_difference_low"].value, found["loss_difference_low"].status) == (None, "low_sample")


def test_a_linear_network_is_not_applicable() -> None:
    assert measured(nn.Linear(4, 2))["verdict"].status == "not_applicable"


@torch.no_grad()
def test_divergence_is_nonfinite() -> None:
    network = mlp(0)
    network.get_parameter("critic.output.bias").fill_(torch.inf)
    with torch.enable_grad():
        found = measured(network, Injection(steps=2, batch=64, draws=1))
    assert (found["verdict"].value, found["verdict"].status) == (None, "nonfinite")


@pytest.mark.parametrize("draws", [0, 21])
def test_a_number_of_draws_that_the_test_cannot_take_is_refused(draws: int) -> None:
    with pytest.raises(ConfigurationError, match=f"draws is {draws}"):
        Injection(draws=draws)


def test_a_series_is_injected_end_to_end(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=100)
    with analyze(run, data, tmp_path / "a.h5", [Injection(steps=2, batch=50, draws=5)]) as analysis:
        rows = analysis.select(probe="injection", metric="final_loss", step=100)
        assert sorted(set(zip(rows["arm"], rows["draw"].tolist(), strict=True))) == [
            (arm, draw) for arm in ("control", "injected") for draw in range(5)
        ]
        start = [
            analysis.select(probe="injection", metric="initial_loss", step=100, draw=0, arm=arm)["value"][0]
            for arm in ("control", "injected")
        ]
        assert start[0] == pytest.approx(start[1], rel=1e-6)
        assert len(analysis.select(probe="injection", metric="verdict")["value"]) == 3
