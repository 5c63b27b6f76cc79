"""Aliasing: known pairs, ties, a second formula, invariances, and sets that cannot tell."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.observations import open_observations
from probe.probes.aliasing import Aliasing, aliasing, mean_over_largest
from probe.probes.base import Reading
from tests.probe.probes.subjects import Features, Made, by_metric
from tests.probe.series import write_observations, write_series

METRICS = ("distant_similarity", "random_similarity", "aliasing_excess", "silent_fraction", "rows_used")


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noise(samples: int, units: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(samples, units, generator=torch.Generator().manual_seed(seed)).double()


def readings(features: Tensor, returns: Tensor | None, probe: Aliasing | None = None) -> dict[str, Reading]:
    columns = {} if returns is None else {"returns": returns.numpy()}
    return by_metric((probe or Aliasing()).measure(Made(Features(), features, columns)), "encoder")


def test_two_states_of_different_worth_and_one_look_are_aliased() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()
    found = aliasing(features, numbers(0, 10, 1), 0.1)
    assert found == (pytest.approx(1), pytest.approx(1 / 3))


def test_features_that_follow_the_return_are_not_aliased() -> None:
    returns = torch.linspace(0, 1, 50, dtype=torch.float64)
    features = torch.stack([torch.cos(returns * torch.pi / 2), torch.sin(returns * torch.pi / 2)], dim=1)
    found = readings(features.abs(), returns)
    assert found["aliasing_excess"].value is not None and found["aliasing_excess"].value < -0.3
    assert found["rows_used"] == Reading("rows_used", 50)
    assert found["silent_fraction"].value == 0


def test_features_that_are_all_alike_have_similarity_one_and_no_excess() -> None:
    found = readings(torch.full((60, 3), 2.5), torch.linspace(0, 1, 60, dtype=torch.float64))
    assert found["distant_similarity"].value == pytest.approx(1)
    assert found["aliasing_excess"].value == pytest.approx(0, abs=1e-12)


def test_pairs_of_equal_difference_at_the_cut_count_in_part() -> None:
    assert mean_over_largest(numbers(8, 1, 2, 3), numbers(5, 1, 1, 1), 0.5) == 5
    assert mean_over_largest(numbers(8, 1, 2, 3), numbers(5, 1, 1, 0), 1.0) == 3.5
    assert mean_over_largest(numbers(8, 1), numbers(5, 1), 0.001) == 8


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(4)), st.floats(1e-3, 1e3))
def test_the_similarities_are_those_of_numpy_in_any_order_scale_and_rotation(
    seed: int, order: list[int], scale: float
) -> None:
    features, returns = noise(15, seed=seed), noise(15, 1, seed + 1)[:, 0]
    pairs = list(combinations(range(15), 2))
    unit = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    cosines = np.array([unit[i] @ unit[j] for i, j in pairs])
    differences = np.array([abs(returns[i] - returns[j]) for i, j in pairs])
    farthest = np.argsort(-differences)[: round(0.1 * len(pairs))]
    expected = pytest.approx((cosines[farthest].mean(), cosines.mean()))
    rotation = torch.linalg.qr(noise(4, 4, seed)).Q
    rows = torch.randperm(15, generator=torch.Generator().manual_seed(seed))
    assert aliasing(features, returns, 0.1) == expected
    assert aliasing(scale * features[:, order], -3 * returns + 1, 0.1) == expected
    assert aliasing((features @ rotation)[rows], returns[rows], 0.1) == expected


def test_huge_and_tiny_features_have_cosines() -> None:
    for scale in (1e-200, 1e200):
        assert aliasing(scale * torch.eye(3).double(), numbers(0, 1, 5), 0.5) == (0, 0)


def test_observations_without_return_or_features_are_left_out() -> None:
    features, returns = noise(80).abs(), noise(80, 1)[:, 0]
    features[:20] = 0
    returns[70:] = torch.nan
    found = readings(features, returns)
    assert found["rows_used"].value == 50
    assert found["silent_fraction"].value == pytest.approx(20 / 70)
    expected = aliasing(features[20:70], returns[20:70], 0.1)
    assert expected is not None and found["distant_similarity"].value == pytest.approx(expected[0])


def test_a_fixed_spread_of_rows_is_used() -> None:
    features, returns = noise(90).abs(), noise(90, 1)[:, 0]
    found = readings(features, returns, Aliasing(rows=40))
    chosen = torch.arange(40) * 90 // 40
    expected = aliasing(features[chosen], returns[chosen], 0.1)
    assert expected is not None and found["random_similarity"].value == pytest.approx(expected[1])


@pytest.mark.parametrize(
    ("features", "returns", "status"),
    [
        (noise(40).abs(), None, "not_applicable"),
        (noise(40).abs(), torch.full((40,), torch.nan), "not_applicable"),
        (noise(40) * torch.nan, noise(40, 1)[:, 0], "nonfinite"),
        (torch.zeros(40, 4), noise(40, 1)[:, 0], "degenerate"),
        (noise(40).abs(), torch.ones(40), "degenerate"),
    ],
    ids=["no returns", "returns unknown", "nan", "silent", "equal returns"],
)
def test_sets_and_layers_that_cannot_tell_give_no_similarity(
    features: Tensor, returns: Tensor | None, status: str
) -> None:
    found = readings(features, returns)
    assert set(found) == set(METRICS)
    assert {found[metric].value for metric in METRICS[:3]} == {None}
    assert {each.status for each in found.values()} == {status}


def test_few_observations_are_said_and_a_network_without_encoder_is_not_read() -> None:
    assert readings(noise(20).abs(), noise(20, 1)[:, 0])["random_similarity"].status == "low_sample"
    subject = Made(Features(), noise(40), {"returns": noise(40, 1)[:, 0].numpy()}, modules=("actor",))
    [*found] = Aliasing().measure(subject).readings
    assert {(each.reading.status, each.layer, each.module) for each in found} == {("not_applicable", "", "encoder")}


def test_an_analysis_reads_the_encoders_last_layer(tmp_path: Path) -> None:
    folder, data = write_series(tmp_path / "run", steps=(0,)), write_observations(tmp_path / "o.h5", samples=200)
    planned = plan(open_series([folder]), [open_observations(data)], tmp_path / "a.h5", [Aliasing()])
    list(planned.measure())
    list(planned.examine())
    with planned.assemble() as analysis:
        rows = analysis.select(probe="aliasing", metric="distant_similarity")
        assert rows["layer"].tolist() == ["encoder.relu2"] and rows["status"].tolist() == ["ok"]
        assert 0 <= rows["value"][0] <= 1
