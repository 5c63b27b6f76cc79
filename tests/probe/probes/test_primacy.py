"""Primacy: halves of tasks by hand, networks blind to late tasks or trained on early ones, symmetries, and edges."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.analysis import analyze, plan
from probe.checkpoints import open_series
from probe.datasets.collect import collect
from probe.datasets.sampling import Sampling
from probe.networks import build, preset
from probe.observations import open_observations
from probe.probes.base import Finding, Probe, Reading
from probe.probes.fitting import TARGETS, Fitting
from probe.probes.primacy import Primacy, late_less_early
from probe.regression import Budget, Curve, Task, fit, fit_all
from tests.probe.probes.held import Factory, subject_of
from tests.probe.series import ENVIRONMENT, write_series

STREAM = torch.Generator().manual_seed(1)
EARLY = torch.randn(256, 4, generator=STREAM) * torch.tensor([1.0, 1.0, 0.0, 0.0])
LATE = torch.randn(256, 4, generator=STREAM) * torch.tensor([0.0, 0.0, 1.0, 1.0])
SHORT = Primacy(steps=40, batch=128, draws=3, learning_rates=(0.01,))


def mlp(seed: int) -> nn.Module:
    return build(preset("mlp", (4,), 2, 32), torch.Generator().manual_seed(seed))


def measured(
    network: nn.Module,
    *sets: tuple[int, Tensor],
    probe: Primacy = SHORT,
    fresh: Factory | None = mlp,
    returns: Sequence[Tensor] = (),
) -> list[Finding]:
    subjects = [subject_of(network, observations, fresh, task=task) for task, observations in sets]
    if returns:
        columns = [{"returns": each.detach().numpy()} for each in returns]
        subjects = [subject_of(network, o, fresh, c, t) for (t, o), c in zip(sets, columns, strict=True)]
    return list(probe.measure_sets(subjects).readings)


def readings(found: list[Finding], metric: str) -> list[Reading]:
    return [each.reading for each in found if each.reading.metric == metric]


def mean(found: list[Finding], metric: str) -> float:
    (only,) = [each.reading.value for each in found if each.reading.metric == metric and each.draw == -1]
    assert only is not None
    return only


def blind(to: Tensor) -> nn.Module:
    """A network whose first layer is silent wherever the features that `to` uses are above zero in sum."""
    network = mlp(3)
    used = (to != 0).any(0).float()
    with torch.no_grad():
        network.get_parameter("encoder.dense1.weight").copy_(-1e3 * used.repeat(32, 1))
    return network


def test_late_is_the_last_half_of_the_tasks_and_early_the_first() -> None:
    one, two, three, four = (np.array([value, 2 * value]) for value in (1.0, 2.0, 4.0, 8.0))
    assert late_less_early({0: [one], 1: [four]}).tolist() == [7, 14]
    assert late_less_early({5: [four], 0: [one], 2: [two]}).tolist() == [7, 14]
    assert late_less_early({0: [one], 1: [two], 2: [three], 3: [four]}).tolist() == [4.5, 9]


def test_sets_of_one_task_count_as_one() -> None:
    one, two, nine = (np.array([value]) for value in (1.0, 3.0, 9.0))
    assert late_less_early({0: [one, two], 1: [nine]}).item() == 7


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6))
def test_another_order_of_tasks_flips_the_sign_and_a_common_difficulty_cancels(seed: int, tasks: int) -> None:
    values = np.random.default_rng(seed).standard_normal((tasks, 3))
    forward = late_less_early({task: [values[task]] for task in range(tasks)})
    backward = late_less_early({-task: [values[task]] for task in range(tasks)})
    assert forward == pytest.approx(-backward)
    assert late_less_early({task: [values[task] + 5] for task in range(tasks)}) == pytest.approx(forward)


def test_equal_sets_have_a_primacy_of_exactly_zero() -> None:
    found = measured(mlp(3), (0, EARLY), (1, EARLY), probe=replace(SHORT, steps=60))
    for kind in TARGETS:
        assert [each.value for each in readings(found, f"{kind}_primacy")] == [0.0] * 4
        assert mean(found, f"{kind}_primacy_low") == mean(found, f"{kind}_primacy_high") == 0


def test_a_network_that_is_blind_to_late_observations_shows_it_and_swapped_tasks_flip_the_sign() -> None:
    early, late = EARLY.abs(), LATE.abs()
    found = measured(blind(late), (0, early), (1, late))
    assert mean(found, "random_network_primacy_low") > 0.5
    swapped = measured(blind(late), (1, early), (0, late))
    for kind in TARGETS:
        assert mean(swapped, f"{kind}_primacy") == pytest.approx(-mean(found, f"{kind}_primacy"), abs=1e-12)
        assert mean(swapped, f"{kind}_primacy_low") == pytest.approx(-mean(found, f"{kind}_primacy_high"), abs=1e-12)


def test_a_network_that_memorised_early_observations_does_so_again_and_a_new_one_has_no_side() -> None:
    trained = mlp(3)
    for lesson in range(5):
        labels = torch.randn(256, 3, generator=torch.Generator().manual_seed(50 + lesson))
        fit(Task(trained, EARLY, labels, Budget(300, 128, 0.01), torch.Generator().manual_seed(lesson)))
    longer = replace(SHORT, steps=60)
    found = measured(trained.eval(), (0, EARLY), (1, LATE), probe=longer)
    assert mean(found, "label_shuffle_primacy_low") > 0.02
    new = measured(mlp(4), (0, EARLY), (1, LATE), probe=longer)
    assert abs(mean(new, "label_shuffle_primacy")) < 0.02


def test_each_sets_ratio_is_fittings_and_carries_its_digest() -> None:
    found = measured(mlp(3), (0, EARLY), (1, LATE[:150]))
    fitting = Fitting(SHORT.steps, SHORT.batch, SHORT.draws, 150, SHORT.learning_rates)
    for task, observations in ((0, EARLY), (1, LATE[:150])):
        expected = fitting.measure(subject_of(mlp(3), observations, mlp)).readings
        own = [each for each in found if each.data == f"{task:064d}"]
        assert {each.samples for each in found} == {150, -1}
        for metric in ("random_network_ratio", "label_shuffle_ratio_high"):
            assert mean(own, metric) == mean(list(expected), metric)
    ratios = [np.log([each.value for each in readings(found, "random_network_ratio")])]
    assert mean(found, "random_network_primacy") == pytest.approx(float(ratios[0][1] - ratios[0][0]))


def test_values_that_are_the_returns_leave_no_error_and_late_errors_a_gap() -> None:
    network = mlp(3).eval()
    with torch.no_grad():
        own = [network(each)["critic"] for each in (EARLY, LATE)]
    quick = Primacy(steps=1, draws=1)
    found = measured(network, (0, EARLY), (1, LATE), probe=quick, returns=own)
    assert [each.value for each in readings(found, "value_error")] == [0, 0] and mean(found, "value_error_gap") == 0
    missed = [own[0], own[1] + 3]
    off = measured(network, (0, EARLY), (1, LATE), probe=quick, returns=missed)
    assert mean(off, "value_error_gap") == pytest.approx(9, rel=1e-5)
    assert mean(measured(network, (1, EARLY), (0, LATE), probe=quick, returns=missed), "value_error_gap") < -8
    assert [each.data[-1:] for each in off if each.reading.metric == "value_error"] == ["0", "1"]


@pytest.mark.parametrize("tasks", [(2,), (1, 1)])
def test_one_task_is_not_applicable(tasks: tuple[int, ...]) -> None:
    found = measured(mlp(3), *((task, EARLY) for task in tasks))
    assert {(each.reading.value, each.reading.status) for each in found} == {(None, "not_applicable")}


def test_without_returns_or_a_fresh_network_there_is_no_number() -> None:
    found = measured(mlp(3), (0, EARLY), (1, LATE), fresh=None, probe=Primacy(steps=2, draws=2))
    assert {(each.reading.value, each.reading.status) for each in found} == {(None, "not_applicable")}


@torch.no_grad()
def test_nan_is_nonfinite_and_one_draw_has_no_interval() -> None:
    network = mlp(3)
    network.get_parameter("encoder.dense1.bias").fill_(torch.nan)
    with torch.enable_grad():
        found = measured(network, (0, EARLY), (1, LATE), probe=Primacy(steps=2, draws=2), returns=[EARLY[:, 0]] * 2)
        one = measured(mlp(3), (0, EARLY), (1, LATE), probe=Primacy(steps=2, draws=1))
    assert {(each.reading.value, each.reading.status) for each in found} == {(None, "nonfinite")}
    assert readings(one, "random_network_primacy_low") == [Reading("random_network_primacy_low", None, "low_sample")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"task{task}.h5" for task in range(2)]
    for task, path in enumerate(paths):
        environment = ENVIRONMENT.model_copy(update={"task": task})
        collect(environment, path, Sampling(samples=80 + 20 * task, stride=1, num_envs=4, seed=task))
    return write_series(folder / "run", steps=(0, 100)), paths


def test_two_sets_are_compared_end_to_end_in_any_order(files: tuple[Path, list[Path]], tmp_path: Path) -> None:
    run, paths = files
    probe = Primacy(steps=40, batch=32, draws=2, learning_rates=(0.01,))
    early, late = (open_observations(path).digest for path in paths)
    with analyze(run, paths[::-1], tmp_path / "a.h5", [probe]) as analysis:
        rows = analysis.select(probe="primacy", metric="random_network_primacy", draw=-1)
        assert rows["step"].tolist() == [0, 100] and np.isfinite(rows["value"]).all()
        assert set(rows["data"]) == {late} and set(rows["samples"]) == {80}
        ratios = analysis.select(probe="primacy", metric="random_network_ratio", step=100)
        assert sorted(ratios["data"]) == sorted((early, late))
        gap = analysis.select(probe="primacy", metric="value_error_gap", step=0)["value"]
        errors = analysis.select(probe="primacy", metric="value_error", step=0)
        by_set = dict(zip(errors["data"], errors["value"], strict=True))
        assert gap.tolist() == pytest.approx([by_set[late] - by_set[early]])
        assert {each["reference"] for each in analysis.examinations} == {early}
    again = plan(open_series([run]), [open_observations(path) for path in paths], tmp_path / "a.h5", [probe])
    assert again.items == [] and again.examinations == []


def test_each_set_has_one_control_for_all_checkpoints_that_fitting_shares(
    files: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    run, paths = files
    budget = {"steps": 4, "batch": 32, "draws": 2, "samples": 80}
    probes = [Primacy(**budget), Fitting(**budget)]
    planned = plan(open_series([run]), [open_observations(path) for path in paths], tmp_path / "a.h5", probes)
    assert len(planned.controls) == 2
    list(planned.measure())
    done = list(planned.examine())
    assert [bool(each.control) for each in done] == [True] * 2 + [False] * (2 + 2 * 2)
    assert len(list((tmp_path / "a.h5.parts").glob("fitting-*"))) == 2 + 2 * 2


@pytest.mark.parametrize(("samples", "shared"), [(80, 2), (60, 2), (2560, 1)])
def test_fits_that_fitting_made_on_a_set_are_read_and_not_made_again(
    files: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int, shared: int
) -> None:
    run, paths = files
    budget: dict[str, Any] = {"steps": 4, "batch": 32, "draws": 2, "samples": samples}
    fits: list[Task] = []

    def counting(tasks: Iterable[Task]) -> list[Curve]:
        listed = list(tasks)
        fits.extend(listed)
        return fit_all(listed)

    monkeypatch.setattr("probe.probes.fitting.fit_all", counting)

    def rows(name: str, *probes: Probe) -> set[str]:
        fits.clear()
        with analyze(run, paths, tmp_path / name, probes) as analysis:
            return {repr(row) for row in analysis.row_list() if row.probe == "primacy"}

    one = len(TARGETS) * 2
    alone = rows("alone.h5", Primacy(**budget))
    assert len(fits) == one * 2 * (2 + 1)
    # Two checkpoints and a control on each set; on the larger set, primacy takes fewer observations where it must.
    both = rows("both.h5", Primacy(**budget), Fitting(**budget))
    assert len(fits) == one * (2 * (2 + 1) + (2 - shared) * (2 + 1))
    assert both == alone
    rows("other.h5", Primacy(**budget), Fitting(**(budget | {"steps": 3})))
    assert len(fits) == one * 2 * (2 + 1) * 2


def test_one_set_is_said_to_be_too_few(files: tuple[Path, list[Path]], tmp_path: Path) -> None:
    run, paths = files
    with analyze(run, paths[0], tmp_path / "a.h5", ["primacy"]) as analysis:
        rows = analysis.select(probe="primacy")
        assert set(rows["status"]) == {"not_applicable"} and np.isnan(rows["value"]).all()
        assert [each["reference"] for each in analysis.examinations] == ["", ""]
