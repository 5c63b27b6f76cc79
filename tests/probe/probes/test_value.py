"""Value: the known bias, second formulas, invariances, several heads, and sets that cannot tell."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.analysis import analyze
from probe.checkpoints import open_series
from probe.observations import open_observations
from probe.probes.base import Finding
from probe.probes.value import Value, explained_variance, value_bias, value_correlation, value_error
from tests.probe.probes.subjects import Made
from tests.probe.series import write_observations, write_series

METRICS = ("value_bias", "value_error", "explained_variance", "value_correlation")


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noise(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)).double()


class Heads(nn.Module):
    """Passes columns of its observations on as values."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        return {name: observations[:, index] for index, name in enumerate(self.names)}


def measured(network: nn.Module, observations: Tensor, returns: Tensor | None, batch: int = 64) -> list[Finding]:
    columns = {} if returns is None else {"returns": returns.numpy()}
    return list(Value().measure(Made(network, observations, columns, batch=batch)).readings)


def values(found: list[Finding], head: str = "critic") -> list[float | int | None]:
    return [each.reading.value for each in found if each.module == head]


def test_one_below_every_return_is_a_bias_of_minus_one_and_explains_all() -> None:
    returns = noise(50)
    found = measured(Heads("critic"), (returns - 1)[:, None], returns)
    assert values(found) == pytest.approx([-1, 1, 1, 1], abs=1e-6)
    assert {each.samples for each in found} == {50}


class ActionValues(nn.Module):
    """Passes its observations on as the values of actions."""

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        return {"critic": observations}


def test_of_values_of_actions_that_of_the_stored_action_counts() -> None:
    returns, actions = noise(50), np.arange(50) % 3
    given = torch.full((50, 3), 100.0)
    given[torch.arange(50), torch.from_numpy(actions)] = (returns - 1).float()
    columns = {"returns": returns.numpy(), "actions": actions}
    found = list(Value().measure(Made(ActionValues(), given, columns, batch=7)).readings)
    assert values(found) == pytest.approx([-1, 1, 1, 1], abs=1e-6)
    foreign = Made(ActionValues(), given, {**columns, "actions": actions + 1})
    assert {each.reading.status for each in Value().measure(foreign).readings} == {"not_applicable"}


def test_the_mean_return_explains_nothing_and_its_negative_less_than_nothing() -> None:
    returns = numbers(1, 2, 6)
    assert explained_variance(torch.full_like(returns, 3.0), returns) == pytest.approx(0)
    # Var(G - (-G)) / Var(G) = 4.
    assert explained_variance(-returns, returns) == pytest.approx(-3)
    assert value_correlation(-returns, returns) == pytest.approx(-1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-10, 10), st.permutations(range(20)))
def test_all_four_are_those_of_numpy_and_keep_what_they_should(
    seed: int, scale: float, shift: float, order: list[int]
) -> None:
    returns, predicted = noise(20, seed), noise(20, seed + 1) + 0.5
    g, v = returns.numpy(), predicted.numpy()
    assert value_bias(predicted, returns) == pytest.approx(v.mean() - g.mean())
    assert value_error(predicted, returns) == pytest.approx(((v - g) ** 2).sum() / 20)
    assert explained_variance(predicted, returns) == pytest.approx(1 - np.var(g - v) / np.var(g))
    assert value_correlation(predicted, returns) == pytest.approx(np.corrcoef(v, g)[0, 1])
    scaled = (scale * predicted[order] + shift, scale * returns[order] + shift)
    assert value_bias(*scaled) == pytest.approx(scale * value_bias(predicted, returns), abs=1e-9)
    assert explained_variance(*scaled) == pytest.approx(explained_variance(predicted, returns), abs=1e-9)
    assert value_correlation(scaled[0], returns[order]) == pytest.approx(
        value_correlation(predicted, returns), abs=1e-9
    )
    # Bias and spread make up the error.
    spread = (1 - (explained_variance(predicted, returns) or 0)) * returns.var(correction=0).item()
    assert value_error(predicted, returns) == pytest.approx(value_bias(predicted, returns) ** 2 + spread)


def test_rows_without_a_return_are_left_out_and_batches_do_not_matter() -> None:
    observations, returns = noise(90)[:, None], noise(90, 1)
    returns[::3] = torch.nan
    known = returns.isfinite()
    expected = measured(Heads("critic"), observations[known], returns[known])
    for batch in (7, 90):
        found = measured(Heads("critic"), observations, returns, batch)
        assert values(found) == pytest.approx(values(expected)) and found[0].samples == 60


def test_every_head_has_its_own_numbers() -> None:
    returns = noise(40)
    observations = torch.stack([returns + 2, returns - 3, returns], dim=1)
    found = measured(Heads("critic", "critic2", "actor"), observations, returns)
    assert (values(found)[0], values(found, "critic2")[0]) == pytest.approx((2, -3), abs=1e-6)
    assert {each.module for each in found} == {"critic", "critic2"}


def test_equal_returns_and_constant_values_leave_out_what_divides_by_their_spread() -> None:
    equal = measured(Heads("critic"), noise(30)[:, None], torch.full((30,), 0.1))
    assert [each.reading.status for each in equal] == ["ok", "ok", "degenerate", "degenerate"]
    constant = measured(Heads("critic"), torch.full((30, 1), 0.1), noise(30))
    assert [each.reading.status for each in constant] == ["ok", "ok", "ok", "degenerate"]
    one = measured(Heads("critic"), torch.ones(1, 1), numbers(3))
    assert values(one) == [-2, 4, None, None]


@pytest.mark.parametrize(
    ("network", "returns", "status"),
    [
        (Heads("critic"), None, "not_applicable"),
        (Heads("critic"), torch.full((5,), torch.nan), "not_applicable"),
        (Heads("actor"), torch.ones(5), "not_applicable"),
        (nn.Identity(), torch.ones(5), "not_applicable"),
    ],
    ids=["no returns", "returns unknown", "no critic", "no names"],
)
def test_sets_and_networks_that_cannot_tell_give_no_number(
    network: nn.Module, returns: Tensor | None, status: str
) -> None:
    found = measured(network, torch.ones(5, 1), returns)
    assert [each.reading.metric for each in found] == list(METRICS)
    assert {(each.reading.value, each.reading.status, each.module) for each in found} == {(None, status, "critic")}


def test_what_is_not_finite_gives_no_number() -> None:
    observations = noise(5)[:, None]
    observations[2] = torch.inf
    found = measured(Heads("critic"), observations, noise(5))
    assert {(each.reading.value, each.reading.status) for each in found} == {(None, "nonfinite")}


def test_a_series_has_its_values_end_to_end(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=100)
    opened = open_observations(data)
    returns = opened.column("returns")
    known = np.isfinite(returns)
    with torch.no_grad():
        given = open_series([run])[0].checkpoints[2].network()(next(opened.batches(100)))["critic"].numpy()
    with analyze(run, data, tmp_path / "a.h5", ["value"]) as analysis:
        rows = analysis.select(probe="value", metric="value_bias")
        assert rows["step"].tolist() == [0, 100, 200] and set(rows["module"]) == {"critic"}
        assert rows["value"][2] == pytest.approx((given - returns)[known].mean(), rel=1e-5)
        assert set(rows["samples"]) == {known.sum()}
