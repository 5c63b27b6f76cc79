"""Collapse: every sign on its own, revival and duration, and what neither begins nor ends one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.modules import ModuleMap
from probe.observations import open_observations
from probe.probes.base import Reading
from probe.probes.collapse import Collapse, unit_deviations
from probe.statistics.layer import LayerStatistics
from probe.subject import Point
from tests.probe.series import write_observations, write_series

SIGNS = ("silent", "dormant", "fau", "rank", "constant")


def statistics_of(values: Tensor) -> LayerStatistics:
    statistics = LayerStatistics()
    statistics.update(values)
    return statistics


def healthy(seed: int = 0, units: int = 8, samples: int = 200) -> Tensor:
    return torch.randn(samples, units, generator=torch.Generator().manual_seed(seed)).relu()


def series(*outputs: Tensor) -> list[Point]:
    modules = ModuleMap.of(("encoder",))
    return [Point(100 * index, 0, modules, {"encoder.relu": statistics_of(each)}) for index, each in enumerate(outputs)]


def measured(*outputs: Tensor, probe: Collapse | None = None) -> list[dict[str, Reading]]:
    found = (probe or Collapse()).measure_series(series(*outputs))
    return [{each.reading.metric: each.reading for each in findings.readings} for findings in found]


def values(readings: list[dict[str, Reading]], metric: str) -> list[float | None]:
    return [each[metric].value for each in readings]


def signs(output: Tensor, probe: Collapse | None = None) -> set[str]:
    [readings] = measured(output, probe=probe)
    found = {sign for sign in SIGNS if readings[f"collapsed_{sign}"].value == 1}
    assert readings["collapsed"].value == int(bool(found))
    return found


def test_a_healthy_layer_shows_no_sign() -> None:
    assert signs(healthy()) == set()


def test_a_silent_layer_shows_every_sign_but_the_rank_that_zeros_do_not_have() -> None:
    assert signs(torch.zeros(50, 4)) == {"silent", "dormant", "fau", "constant"}


def test_nine_of_ten_dormant_units_are_a_collapse_and_eight_are_none() -> None:
    output = 100 * healthy(units=20)
    output[:, :17] *= 1e-3
    assert signs(output) == set()
    output[:, 17] *= 1e-3
    assert signs(output) == {"dormant"}


def test_rare_activity_is_a_collapse_and_leaves_the_other_signs_out() -> None:
    output = torch.zeros(200, 10)
    output[torch.arange(90), torch.arange(90) % 10] = 1.0
    assert signs(output) == {"fau"}
    output[torch.arange(100, 110), torch.arange(10)] = 1.0
    assert signs(output) == set()


def test_one_direction_alone_is_a_collapse_of_rank() -> None:
    assert signs(healthy()[:, :1] * torch.arange(1.0, 7.0) + 1) == {"rank"}


def test_units_that_hardly_vary_are_a_collapse_in_nine_of_ten() -> None:
    generator = torch.Generator().manual_seed(0)
    output = 0.01 * torch.eye(10).repeat(20, 1)[torch.randperm(200, generator=generator)]
    assert "constant" not in signs(output)
    assert signs(output / 100) == {"constant"}
    output[:, 2:] /= 100
    assert "constant" not in signs(output)


def test_thresholds_are_settable_and_stated() -> None:
    output = healthy()
    assert signs(output, Collapse(least_fau=0.9)) == {"fau"}
    [readings] = measured(output, probe=Collapse(least_fau=0.9, least_rank=100.0))
    assert (readings["collapsed_fau"].threshold, readings["collapsed_rank"].threshold) == (0.9, 100.0)
    assert readings["collapsed_rank"].value == 1


def test_activity_means_nothing_for_outputs_below_zero() -> None:
    [readings] = measured(-healthy())
    assert (readings["collapsed_fau"].value, readings["collapsed_fau"].status) == (None, "not_applicable")
    assert (readings["change_point"].value, readings["collapsed"].value) == (None, 0)


def test_one_unit_and_fewer_samples_than_units_have_no_rank_to_lose() -> None:
    for output in (healthy(units=1), healthy(units=20, samples=10)):
        [readings] = measured(output)
        assert readings["collapsed_rank"].status == "not_applicable" and readings["collapsed"].value == 0


def test_fall_revival_and_second_fall_have_their_steps() -> None:
    silent, working = torch.zeros(200, 8), healthy()
    found = measured(working, silent, silent, working, silent)
    assert values(found, "collapsed") == [0, 1, 1, 0, 1]
    assert values(found, "silent_since_step") == [None, 100, 100, None, 400]
    assert values(found, "collapse_duration") == [None, 0, 100, None, 0]
    assert values(found, "collapsed_steps") == [0, 0, 100, 200, 200]
    assert values(found, "revivals") == [0, 0, 0, 1, 1]
    assert found[0]["silent_since_step"].status == "not_applicable"


def test_a_layer_silent_from_the_start_is_so_since_the_first_step() -> None:
    found = measured(torch.zeros(50, 4), torch.zeros(50, 4))
    assert values(found, "silent_since_step") == [0, 0]
    assert values(found, "change_point") == [0, 0]


def test_a_layer_that_lost_half_of_its_activity_changed_and_did_not_collapse() -> None:
    sparse = torch.where(torch.arange(200)[:, None] % 5 == 0, healthy(1), 0.0)
    found = measured(healthy(), sparse)
    assert values(found, "change_point") == [0, 1]
    assert values(found, "collapsed") == [0, 0]
    assert found[1]["change_point"].threshold == 0.5


def test_nan_is_no_number_and_neither_begins_nor_ends_a_collapse() -> None:
    silent, broken = torch.zeros(200, 8), torch.full((200, 8), torch.nan)
    found = measured(healthy(), silent, broken, silent, healthy())
    assert {(each.value, each.status) for each in found[2].values()} == {(None, "nonfinite")}
    assert set(found[2]) == set(found[1])
    assert values(found, "revivals") == [0, 0, None, 0, 1]
    assert values(found, "collapsed_steps") == [0, 0, None, 200, 300]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(8)))
def test_the_order_of_units_and_batches_means_nothing(seed: int, order: list[int]) -> None:
    output = healthy(seed) * torch.linspace(0, 1, 8).pow(6)
    parts = LayerStatistics()
    for part in output[:, order].split([3, 150, 47]):
        parts.update(part)
    point = Point(0, 0, ModuleMap.of(()), {"layer": parts})
    [split] = Collapse().measure_series([point])
    assert [each.reading.value for each in split.readings] == [each.value for each in measured(output)[0].values()]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_the_past_of_any_series_is_that_of_its_runs_of_flags(fallen: list[bool]) -> None:
    found = measured(*(torch.zeros(60, 4) if each else healthy(units=4, samples=60) for each in fallen))
    flags = np.array(fallen, dtype=int)
    assert values(found, "collapsed") == flags.tolist()
    assert values(found, "revivals") == np.cumsum(np.diff(flags, prepend=0) == -1).tolist()
    assert values(found, "collapsed_steps") == (100 * np.cumsum(np.insert(flags[:-1], 0, 0))).tolist()


def test_deviations_are_those_of_numpy_and_none_for_a_constant() -> None:
    output = torch.cat([healthy() - 0.4, torch.full((200, 1), 0.1)], dim=1)
    found = unit_deviations(statistics_of(output)).numpy()
    assert found[:-1] == pytest.approx(output[:, :-1].numpy().std(0), rel=1e-5)
    assert found[-1] == 0


def test_an_analysis_names_the_layer_that_fell(tmp_path: Path) -> None:
    folder, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=100)
    planned = plan(open_series([folder]), [open_observations(data)], tmp_path / "a.h5", [Collapse(dormant_share=0.25)])
    list(planned.measure())
    list(planned.examine())
    with planned.assemble() as analysis:
        rows = analysis.select(probe="collapse", metric="collapsed", layer="encoder.relu2")
        assert dict(zip(rows["step"].tolist(), rows["value"].tolist(), strict=True))[200] == 1
        assert set(rows["module"]) == {"encoder"} and set(rows["units"]) == {16}
