"""Policy collapse: the bias-only policy, known distributions, a second formula, splits and edges."""

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.capture import capture
from probe.checkpoints import open_series
from probe.observations import open_observations
from probe.policies import entropy
from probe.probes.base import Finding
from probe.probes.policy_collapse import PolicyCollapse, PolicyStatistics, policy_values
from probe.probes.rank import Rank
from probe.statistics.collector import StatisticsCollector
from probe.subject import Subject
from tests.probe.series import kill, write_observations, write_series


def found(*batches: Tensor) -> dict[str, float | None]:
    statistics = PolicyStatistics()
    for batch in batches:
        statistics.update(batch)
    names = ("variance", "entropy", "effective", "marginal", "information")
    return dict(zip(names, policy_values(statistics), strict=True))


class Stub(Subject):
    """A subject of a given network on given batches."""

    def __init__(self, network: nn.Module, *batches: Tensor) -> None:
        self.given, self.made = batches, network
        self.statistics, self.layers = {}, {}

    def network(self) -> nn.Module:
        return self.made

    def batches(self, batch_size: int | None = None, samples: int | None = None):  # type: ignore[no-untyped-def]
        yield from self.given


class Policy(nn.Module):
    """Passes its observations on as logits."""

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        return {"actor": observations}


def test_a_policy_of_biases_alone_varies_exactly_nothing() -> None:
    logits = torch.tensor([0.3, -1.7, 2.9]).repeat(101, 1)
    values = found(logits[:50], logits[50:])
    assert values["variance"] == 0
    assert values["information"] == pytest.approx(0, abs=1e-12)
    assert values["entropy"] == pytest.approx(entropy(logits.double())[0].item())


def test_two_sure_and_opposite_actions_vary_most() -> None:
    values = found(torch.tensor([[50.0, -50.0], [-50.0, 50.0]]))
    assert values == pytest.approx(
        {"variance": 0.5, "entropy": 0, "effective": 1, "marginal": log(2), "information": log(2)}, abs=1e-9
    )


def test_an_even_policy_uses_every_action_and_tells_nothing() -> None:
    values = found(torch.zeros(7, 4))
    assert values == pytest.approx(
        {"variance": 0, "entropy": log(4), "effective": 4, "marginal": log(4), "information": 0}
    )


def test_actions_that_are_ruled_out_have_no_part() -> None:
    values = found(torch.tensor([[0.0, 0.0, -torch.inf]]))
    assert values["effective"] == pytest.approx(2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 39), st.permutations(range(5)))
def test_the_values_are_those_of_numpy_for_any_split_and_order_of_actions(
    seed: int, cut: int, order: list[int]
) -> None:
    logits = 3 * np.random.default_rng(seed).standard_normal((40, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mean_entropy = -(p * np.log(p)).sum(1).mean()
    information = (p * np.log(p / p.mean(0))).sum(1).mean()
    shuffled = torch.from_numpy(logits[:, order].copy())
    assert found(shuffled[:cut], shuffled[cut:]) == pytest.approx(
        {
            "variance": p.var(0).sum(),
            "entropy": mean_entropy,
            "effective": np.exp(mean_entropy),
            "marginal": mean_entropy + information,
            "information": information,
        }
    )


@settings(max_examples=10, deadline=None)
@given(st.floats(-50, 50))
def test_a_constant_added_to_all_logits_changes_nothing(shift: float) -> None:
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double()
    assert found(logits + shift) == pytest.approx(found(logits), abs=1e-9)


def statuses(findings: list[Finding]) -> set[tuple[float | None, str]]:
    return {(each.reading.value, each.reading.status) for each in findings}


def test_nan_and_networks_without_a_policy_give_no_number() -> None:
    logits = torch.zeros(4, 3)
    logits[2, 1] = torch.nan
    assert statuses(list(PolicyCollapse().measure(Stub(Policy(), logits)).readings)) == {(None, "nonfinite")}
    nothing = PolicyCollapse().measure(Stub(nn.Identity(), torch.zeros(4, 3)))
    assert statuses(list(nothing.readings)) == {(None, "not_applicable")}


def test_a_network_whose_features_died_has_a_policy_of_variance_zero(tmp_path: Path) -> None:
    checkpoint = open_series([write_series(tmp_path / "run", steps=(0,))])[0].checkpoints[0]
    observations = open_observations(write_observations(tmp_path / "o.h5", samples=150))
    alive = Subject(checkpoint, observations, {}, {})
    dead = Subject(checkpoint, observations, {}, {})
    network = checkpoint.network()
    kill(network, 16)
    dead.network = lambda: network  # type: ignore[method-assign]
    variance = [PolicyCollapse().measure(each).readings[0].reading for each in (alive, dead)]
    assert variance[0].metric == "action_variance"
    assert variance[0].value is not None and variance[0].value > 0
    assert variance[1].value == 0
    collector = StatisticsCollector()
    with torch.no_grad(), capture(network, collector):
        network(next(observations.batches(150)))
    ranks = {each.metric: each for each in Rank().compute("encoder.relu2", collector.layers["encoder.relu2"])}
    assert (ranks["numeric_rank"].value, ranks["numeric_rank"].status) == (0, "degenerate")
