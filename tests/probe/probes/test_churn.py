"""Churn: identical, flipped and shifted networks, and a real series."""

from pathlib import Path

import pytest
import torch
from torch import nn

from probe.analysis import analyze
from probe.checkpoints import open_series
from probe.networks import build, preset
from probe.observations import open_observations
from probe.probes.base import Findings
from probe.probes.churn import Churn
from tests.probe.probes.held import subject_of
from tests.probe.series import write_observations, write_series

OBSERVATIONS = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    return build(preset("mlp", (4,), 2, 8), torch.Generator().manual_seed(0))


def churn(first: nn.Module, second: nn.Module) -> Findings:
    return Churn().measure_pair(subject_of(first, OBSERVATIONS), subject_of(second, OBSERVATIONS))


def values(found: Findings) -> dict[tuple[str, str], float | int | None]:
    return {(each.module, each.reading.metric): each.reading.value for each in found.readings}


def test_a_network_does_not_churn_against_itself() -> None:
    assert set(values(churn(network(), network())).values()) == {0.0}


@torch.no_grad()
def test_flipped_actions_and_a_shifted_value() -> None:
    later = network()
    head, bias = later.get_submodule("actor.output"), later.get_parameter("critic.output.bias")
    assert isinstance(head, nn.Linear)
    head.weight.copy_(head.weight.flip(0))
    head.bias.copy_(head.bias.flip(0))
    bias += 0.5
    found = values(churn(network(), later))
    assert found["actor", "action_disagreement"] == 1.0
    assert found["critic", "mean_change"] == pytest.approx(0.5, rel=1e-5)
    assert found["critic", "max_change"] == pytest.approx(0.5, rel=1e-5)


def test_outputs_of_other_shape_are_not_compared() -> None:
    wider = build(preset("mlp", (4,), 3, 8), torch.Generator().manual_seed(0))
    readings = [each.reading for each in churn(network(), wider).readings if each.module == "actor"]
    assert [(each.value, each.status) for each in readings] == [(None, "not_applicable")]


def test_a_series_churns_against_its_first_and_the_checkpoint_before(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=100)
    first, _, last = (each.network() for each in open_series([run])[0].checkpoints)
    batch = next(open_observations(data).batches(100))
    with torch.no_grad():
        expected = (first(batch)["critic"] - last(batch)["critic"]).abs().mean().item()
    with analyze(run, data, tmp_path / "a.h5", ["churn"]) as analysis:
        rows = analysis.select(probe="churn", metric="mean_change", module="critic")
        pairs = list(zip(rows["reference_step"].tolist(), rows["step"].tolist(), strict=True))
        assert sorted(pairs) == [(0, 100), (0, 200), (100, 200)]
        assert rows["value"][pairs.index((0, 200))] == pytest.approx(expected, rel=1e-5)
        assert set(rows["aggregation"]) == {"none"}
