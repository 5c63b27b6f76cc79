"""Detections as a whole: nothing twice, rows that read back, and an earlier analysis that stays."""

import json
from pathlib import Path

import numpy as np
import pytest

from probe.analysis import analyze
from probe.detection import read_detections
from probe.detection.verdict import MEASURES
from probe.errors import ConfigurationError, UnknownNameError
from probe.results import Analysis, open_analysis
from probe.results.parts import PartStore
from probe.trainers.detect import planning
from probe.trainers.detect.planning import Detections, plan_detections
from probe.trainers.detect.running import ArmJob, run_arm
from tests.probe.series import write_observations
from tests.trainers.detect.forks import SETTINGS, run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("run"))


def planned(path: Path, out: Path, seeds: list[int], *arms: str) -> Detections:
    return plan_detections(path, [64], None, None, SETTINGS, arms, seeds, out)


def completed(plan: Detections) -> tuple[list[ArmJob], Analysis]:
    ran = list(plan.run(plan.missing, workers=1))
    return ran, plan.assemble()


def test_what_was_run_is_not_run_again_and_more_seeds_join(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "detect.h5"
    first = planned(path, out, [0])
    half = first.missing[:2]
    assert [job.arm for job in first.run(half, workers=1)] == ["control", "moment-reset"]
    PartStore(out).clear()  # as `probe analyze` does when it has written the same file
    ran, analysis = completed(planned(path, out, [0]))
    analysis.close()
    assert [job.arm for job in ran] == ["injected"]
    assert not (tmp_path / "detect.h5.arms").exists()
    ran, analysis = completed(planned(path, out, [0, 1]))
    assert {job.seed for job in ran} == {1} and len(ran) == 3
    (found,) = read_detections(analysis.rows, analysis.probes)
    assert found.draws("injected") == [0, 1]
    assert analysis.verify()
    analysis.close()
    assert planned(path, out, [0, 1]).missing == []
    with planned(path, out, [1]).assemble() as analysis:  # the other pair still counts
        assert analysis.select(metric="verdict")["samples"].tolist() == [2]


def test_the_rows_say_what_the_arms_came_to(path: Path, tmp_path: Path) -> None:
    plan = planned(path, tmp_path / "detect.h5", [3], "head-reset")
    _, analysis = completed(plan)
    with analysis:
        (found,) = read_detections(analysis.rows, analysis.probes)
        assert list(found.values) == ["control", "moment-reset", "injected", "head-reset"]
        assert (found.step, found.module, found.cut, found.budget) == (64, "critic", "encoder.dense2", 64)
        assert found.verdict.state == "undecided" and found.verdict.more >= 4
        rows = analysis.select(arm="injected", draw=3, metric="return")
        assert (rows["step"].tolist(), rows["reference_step"].tolist()) == ([128], [64])
        steps, returns = found.curves["injected"][3]
        assert 0 < steps.max() <= 64 and np.isfinite(returns).all()
        for each in found.comparisons():
            name = each.measure.name
            stored = analysis.select(metric=f"{name}_difference", arm="injected", draw=3)["value"]
            values = [found.values[arm][3][name] for arm in ("moment-reset", "injected")]
            start = found.values["moment-reset"][3].get(each.measure.start, 0.0)
            assert stored.tolist() == pytest.approx([each.measure.difference(*values, start)])
        assert {each.measure for each in found.comparisons()} == set(MEASURES)
        injected = found.values["injected"][3]
        for kind in ("fitting", "td_error"):
            on_the_way = [injected[f"{kind}_{point}_loss"] for point in ("quarter", "half", "final")]
            assert injected[f"{kind}_average_loss"] == pytest.approx(np.mean(on_the_way))
        assert "fitting_average_loss" not in found.values["control"][3]


def test_an_arm_is_the_same_whenever_it_is_run(path: Path, tmp_path: Path) -> None:
    jobs = [planned(path, tmp_path / f"{name}.h5", [2]).jobs[2] for name in "ab"]
    first, second = (run_arm(job).points() for job in jobs)
    assert first == second


def test_other_settings_stand_beside_in_one_file(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "detect.h5"
    for layer in ("encoder.dense1", "encoder.dense2"):
        completed(plan_detections(path, [64], "critic", layer, SETTINGS, [], [0], out))[1].close()
    with open_analysis(out) as analysis:
        found = read_detections(analysis.rows, analysis.probes)
    assert [each.cut for each in found] == ["encoder.dense1", "encoder.dense2"]


def test_an_analysis_and_detections_extend_each_other(path: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "both.h5", write_observations(tmp_path / "observations.h5", samples=64)
    analyze(path, data, out, ["dormancy"]).close()
    with open_analysis(out) as before:
        dormancy = before.select(probe="dormancy")["value"]
    completed(planned(path, out, [0]))[1].close()
    analyze(path, data, out, ["fau"]).close()
    with open_analysis(out) as analysis:
        assert np.array_equal(analysis.select(probe="dormancy")["value"], dormancy, equal_nan=True)
        assert len(analysis.select(probe="fau")["value"])
        (found,) = read_detections(analysis.rows, analysis.probes)
        assert found.draws("injected") == [0]
        assert analysis.verify()
    assert planned(path, out, [0]).missing == []


def test_what_cannot_be_run_is_refused_before_anything_is(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has 21 seeds; the exact test takes at most 20"):
        planned(path, tmp_path / "detect.h5", list(range(21)))
    with pytest.raises(UnknownNameError, match=r"arm 'frsh'\. Did you mean: fresh"):
        planned(path, tmp_path / "detect.h5", [0], "frsh")


def test_an_arm_that_diverges_has_no_return_and_ends_no_other(tmp_path: Path) -> None:
    path = run(tmp_path)
    settings = planning.ArmSettings(64, learning_rate=1e30, fit_steps=2, fit_batch=8, samples=16)
    plan = plan_detections(path, [64], None, None, settings, [], [0], tmp_path / "detect.h5")
    _, analysis = completed(plan)
    with analysis:
        statuses = analysis.select(metric="return")["status"].tolist()
    assert statuses == ["nonfinite"] * 3


def test_the_settings_are_in_the_table_of_probes(path: Path, tmp_path: Path) -> None:
    _, analysis = completed(planned(path, tmp_path / "detect.h5", [0]))
    with analysis:
        (record,) = [each for each in analysis.probes if each["name"] == "detect"]
    settings = json.loads(record["parameters"])
    assert (settings["budget"], settings["source"], settings["reference"]) == (64, "state", "moment-reset")
