"""Curvature of real networks: dead ones, missing returns, foreign outputs, and a series."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.analysis import analyze
from probe.networks import build, preset
from probe.probes.base import Findings, Reading
from probe.probes.curvature import Curvature
from tests.probe.probes.held import subject_of
from tests.probe.series import kill, write_observations, write_series

OBSERVATIONS = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
RNG = np.random.default_rng(0)
COLUMNS = {"actions": RNG.integers(0, 2, 40), "returns": RNG.standard_normal(40)}
SMALL = Curvature(samples=20, iterations=4, eigenvalues=2)


def mlp(dead: int = 0) -> nn.Module:
    network = build(preset("mlp", (4,), 2, 16), torch.Generator().manual_seed(0))
    kill(network, dead)
    return network


def measured(network: nn.Module, columns: dict[str, np.ndarray]) -> dict[tuple[str, str], Reading]:
    found = SMALL.measure(subject_of(network, OBSERVATIONS, columns=columns)).readings
    assert len({(each.module, each.reading.metric) for each in found}) == len(found)
    return {(each.module, each.reading.metric): each.reading for each in found}


def value(readings: dict[tuple[str, str], Reading], module: str, metric: str) -> float:
    found = readings[module, metric].value
    assert found is not None
    return found


def test_ranks_lie_between_one_and_the_samples() -> None:
    found = measured(mlp(), COLUMNS)
    for module in ("actor", "critic"):
        for prefix in ("ntk", "fisher", "covariance"):
            assert 1 <= value(found, module, f"{prefix}_effective_rank") <= 20
            assert value(found, module, f"{prefix}_condition") >= 1
        assert -1 <= value(found, module, "gradient_cosine") <= 1
        assert value(found, module, "zero_gradients") == 0
        assert value(found, module, "hessian_eigenvalue_1") >= value(found, module, "hessian_eigenvalue_2")


def test_a_dead_network_moves_only_its_output_bias() -> None:
    found = measured(mlp(dead=16), COLUMNS)
    assert value(found, "critic", "ntk_effective_rank") == pytest.approx(1, abs=1e-9)
    assert value(found, "critic", "ntk_numeric_rank") == 1
    assert abs(value(found, "critic", "gradient_cosine")) <= 1
    # Only the bias has curvature: the loss is (b - G)^2, whose second derivative is 2.
    assert value(found, "critic", "hessian_eigenvalue_1") == pytest.approx(2, rel=1e-5)


@torch.no_grad()
def test_without_a_loss_gradient_the_fisher_is_zero_and_the_kernel_is_not() -> None:
    network = mlp()
    network.get_parameter("critic.output.weight").zero_()
    network.get_parameter("critic.output.bias").fill_(0.5)
    with torch.enable_grad():
        found = measured(network, {**COLUMNS, "returns": np.full(40, 0.5)})
    assert found["critic", "fisher_effective_rank"] == Reading("fisher_effective_rank", None, "degenerate")
    assert value(found, "critic", "fisher_numeric_rank") == value(found, "critic", "covariance_srank") == 0
    for metric in ("covariance_effective_rank", "covariance_condition", "gradient_curvature", "slice_decrease"):
        assert found["critic", metric] == Reading(metric, None, "degenerate")
    assert value(found, "critic", "zero_gradients") == 20
    assert value(found, "critic", "ntk_numeric_rank") > 1


def test_without_returns_there_is_no_loss() -> None:
    found = measured(mlp(), {**COLUMNS, "returns": np.full(40, np.nan)})
    for kernel in ("fisher", "covariance"):
        assert found["critic", f"{kernel}_effective_rank"].status == "not_applicable"
    assert found["actor", "ntk_effective_rank"].status == "ok"


def test_outputs_without_names_and_actions_that_do_not_fit_are_not_applicable() -> None:
    for found in (measured(nn.Linear(4, 2), COLUMNS), measured(mlp(), {**COLUMNS, "actions": np.full(40, 7)})):
        assert found["actor", "ntk_effective_rank"].status == "not_applicable"


@torch.no_grad()
def test_nan_is_nonfinite() -> None:
    network = mlp()
    network.get_parameter("critic.output.bias").fill_(torch.nan)
    with torch.enable_grad():
        found = measured(network, COLUMNS)
    for kernel in ("ntk", "fisher", "covariance"):
        assert found["critic", f"{kernel}_effective_rank"].status == ("ok" if kernel == "ntk" else "nonfinite")


def test_the_spectra_behind_the_readings_are_kept() -> None:
    found = SMALL.measure(subject_of(mlp(), OBSERVATIONS, columns=COLUMNS))
    values = {(each.module, each.reading.metric): each.reading.value for each in found.readings}
    assert set(found.arrays) == {"actor", "critic"}
    for module, arrays in found.arrays.items():
        for kernel in ("ntk", "fisher", "covariance"):
            spectrum = arrays[f"{kernel}_eigenvalues"]
            assert len(spectrum) == 20 and (np.diff(spectrum) <= 0).all()
            share = spectrum / spectrum.sum()
            entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
            assert values[module, f"{kernel}_effective_rank"] == pytest.approx(np.exp(entropy))
        assert arrays["hessian_eigenvalues"][:2].tolist() == [values[module, f"hessian_eigenvalue_{k}"] for k in (1, 2)]
        assert arrays["hessian_residuals"][-1] == values[module, "hessian_residual_smallest"]
        assert len(arrays["slice_losses"]) == len(arrays["slice_distances"]) == 7
        middle, decrease = arrays["slice_losses"][3], values[module, "slice_decrease"]
        # Of squared errors the mean size is the mean.
        if module == "critic":
            assert decrease == pytest.approx((middle - arrays["slice_losses"].min()) / middle)


class Judge(nn.Module):
    """V(s) = w s; of w = 0 the gradient of `(V(s) - return)^2` is `-2 return s`."""

    def __init__(self, weights: tuple[float, float]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"critic": (x @ self.weights).unsqueeze(1)}


def judged(weights: tuple[float, float], observations: list[list[float]], returns: list[float]) -> Findings:
    subject = subject_of(Judge(weights), torch.tensor(observations), columns={"returns": np.array(returns)})
    return SMALL.measure(subject)


@pytest.mark.parametrize("returns", [[-1.0, -1.0, -1.0, 0.0], [-3e-4, -7e5, -20.0, 0.0]])
def test_the_known_covariance_whatever_the_gradients_lengths(returns: list[float]) -> None:
    found = judged((0.0, 0.0), [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], returns)
    assert found.arrays["critic"]["covariance_eigenvalues"].tolist() == pytest.approx([2, 1, 0], abs=1e-12)
    values = {each.reading.metric: each.reading.value for each in found.readings if each.module == "critic"}
    # Shares of 2/3 and 1/3.
    assert values["covariance_effective_rank"] == pytest.approx(3 / 2 ** (2 / 3))
    assert values["covariance_condition"] == pytest.approx(2)
    assert values["covariance_srank"] == values["covariance_numeric_rank"] == 2
    assert values["gradient_cosine"] == pytest.approx(1 / 3) and values["zero_gradients"] == 1


def test_of_equally_long_gradients_the_covariance_has_the_fishers_ranks() -> None:
    angles = np.linspace(0.1, 2.0, 6)
    found = judged((0.0, 0.0), [[float(np.cos(each)), float(np.sin(each))] for each in angles], [2.0] * 6)
    values = {each.reading.metric: each.reading.value for each in found.readings if each.module == "critic"}
    for rank in ("effective_rank", "srank", "numeric_rank", "condition"):
        assert values[f"covariance_{rank}"] == pytest.approx(values[f"fisher_{rank}"], rel=1e-5)


def test_one_sample_has_a_covariance_and_no_pair() -> None:
    found = judged((1.0, 0.0), [[2.0, 0.0]], [0.0])
    readings = {each.reading.metric: each.reading for each in found.readings if each.module == "critic"}
    assert readings["covariance_effective_rank"].value == 1 and readings["gradient_cosine"].status == "degenerate"
    # The loss is 4 w^2 at w = 1.
    assert readings["gradient_curvature"].value == 8
    assert readings["slice_decrease"].value == pytest.approx(1 - 0.9**2, rel=1e-6)


def test_a_series_has_curvature_end_to_end(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=100)
    with analyze(run, data, tmp_path / "a.h5", [SMALL]) as analysis:
        rows = analysis.select(probe="curvature", metric="ntk_effective_rank", module="critic")
        assert rows["step"].tolist() == [0, 100, 200] and (rows["value"] >= 1).all()
        assert len(analysis.select(probe="curvature", metric="hessian_eigenvalue_2", module="actor")["value"]) == 3
        assert len(analysis.array(rows["checkpoint"][1], rows["data"][1], "critic", "ntk_eigenvalues")) == 20
