"""Fitting: ratios by hand, dead and fresh networks, one fresh control a series, foreign networks."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from probe.analysis import analyze
from probe.networks import build, preset
from probe.probes import fitting
from probe.probes.base import Finding
from probe.probes.fitting import Fitting, geometric_ratio
from tests.probe.probes.held import Factory, subject_of
from tests.probe.series import kill, write_observations, write_series

OBSERVATIONS = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
TINY = Fitting(steps=60, batch=64, draws=2, learning_rates=(0.01,))


def mlp(seed: int) -> nn.Module:
    return build(preset("mlp", (4,), 2, 16), torch.Generator().manual_seed(seed))


def measured(network: nn.Module, fresh: Factory | None = mlp, probe: Fitting = TINY) -> list[Finding]:
    return list(probe.measure(subject_of(network, OBSERVATIONS, fresh)).readings)


def value(found: list[Finding], metric: str, arm: str = "", draw: int = -1) -> float | int | None:
    (only,) = [f.reading.value for f in found if (f.reading.metric, f.arm, f.draw) == (metric, arm, draw)]
    return only


def test_the_ratio_is_the_geometric_mean_with_its_interval() -> None:
    ratio = geometric_ratio([2.0, 8.0], [1.0, 1.0])
    half = 12.7062047 * np.log([2.0, 8.0]).std(ddof=1) / math.sqrt(2)
    assert ratio == pytest.approx((4.0, math.exp(math.log(4) - half), math.exp(math.log(4) + half)), rel=1e-6)
    assert geometric_ratio([0.0], [1.0]) is None and geometric_ratio([math.nan], [1.0]) is None


def test_a_dead_network_is_worse_than_new_and_ends_at_the_variance() -> None:
    network = mlp(3)
    kill(network, 16)
    found = measured(network, probe=Fitting(steps=200, batch=300, draws=2, learning_rates=(0.01,)))
    assert value(found, "random_network_final_loss", "checkpoint", 0) == pytest.approx(1.0, abs=0.01)
    low = value(found, "random_network_ratio_low")
    assert low is not None and (value(found, "random_network_ratio") or 0) > 2


def test_a_new_network_is_as_good_as_new() -> None:
    ratio = value(measured(mlp(3)), "random_network_ratio")
    assert ratio is not None and 0.6 < ratio < 1.6


def test_shuffled_labels_are_harder_than_a_network() -> None:
    found = measured(mlp(3))
    network, shuffled = (value(found, f"{kind}_final_loss", "fresh", 0) for kind in fitting.TARGETS)
    assert network is not None and shuffled is not None and network < shuffled


def test_the_best_learning_rate_counts() -> None:
    rates = [Fitting(steps=40, batch=64, draws=1, learning_rates=each) for each in ((0.01,), (1e-5,), (1e-5, 0.01))]
    high, low, both = (value(measured(mlp(3), probe=p), "label_shuffle_final_loss", "checkpoint", 0) for p in rates)
    assert both == high != low


def test_one_draw_has_a_ratio_and_no_interval() -> None:
    found = measured(mlp(3), probe=Fitting(steps=5, batch=32, draws=1))
    assert value(found, "random_network_ratio") == pytest.approx(value(found, "random_network_ratio", draw=0))
    low = next(each.reading for each in found if each.reading.metric == "random_network_ratio_low")
    assert (low.value, low.status) == (None, "low_sample")


def test_without_a_known_initialisation_there_is_no_control() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    found = measured(network, fresh=None, probe=Fitting(steps=5, batch=32, draws=1))
    assert {each.arm for each in found} == {"checkpoint", ""}
    assert {each.reading.status for each in found if not each.arm} == {"not_applicable"}
    opaque = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2))
    assert {each.reading.status for each in measured(opaque, fresh=None)} == {"not_applicable"}


def test_the_fresh_control_is_trained_once_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[int] = []
    original = fitting.fit

    def counting(*arguments: object) -> object:
        fits.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "fit", counting)
    run, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=100)
    with analyze(run, data, tmp_path / "a.h5", [Fitting(steps=4, batch=32, draws=2)]) as analysis:
        assert len(fits) == (3 + 1) * 2 * 2
        fresh = analysis.select(probe="fitting", metric="label_shuffle_final_loss", arm="fresh", draw=1)["value"]
        assert len(fresh) == 3 and len(set(fresh)) == 1
        own = analysis.select(probe="fitting", metric="label_shuffle_final_loss", arm="checkpoint", draw=1)["value"]
        ratio = analysis.select(probe="fitting", metric="label_shuffle_ratio", draw=1)["value"]
        assert ratio == pytest.approx(own / fresh)
