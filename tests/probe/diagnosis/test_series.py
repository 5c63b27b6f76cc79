"""The diagnosis of real analyses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from probe.analysis import analyze, choose_probes, plan
from probe.checkpoints import open_checkpoint, open_series
from probe.checkpoints.native import save
from probe.diagnosis import SeriesDiagnosis, diagnose, thresholds_from
from probe.diagnosis.courses import courses
from probe.diagnosis.words import plain
from probe.errors import ConfigurationError, UnknownNameError
from probe.observations import open_observations
from probe.results import open_analysis
from tests.probe.series import SPEC, WIDTH, with_activation, write_observations, write_series

OF_STATISTICS = ("activity", "collapse", "dormancy", "fau", "rank")
"""Probes that read the layers' statistics, and these alone."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observations(tmp_path_factory.mktemp("data") / "observations.h5")


def diagnosis(folder: Path, data: Path, steps: tuple[int, ...]) -> SeriesDiagnosis:
    with analyze(write_series(folder / "run", steps), data, folder / "analysis.h5") as analysis:
        (found,) = diagnose(analysis)
    return found


def test_a_series_that_loses_units_is_degrading_and_the_step_is_named(tmp_path: Path, data: Path) -> None:
    # Two more of the 16 units are killed at each checkpoint: 6 of 16 at step 300.
    found = diagnosis(tmp_path, data, (0, 100, 200, 300))
    (encoder,) = [each for each in found.modules if each.module == "encoder"]
    assert encoder.state == found.state == "degrading"
    evidence = next(each for each in encoder.evidence if each.sign.metric == "dead_fraction")
    killed = [index * 2 / WIDTH for index in range(4)]
    with open_analysis(tmp_path / "analysis.h5") as analysis:
        (places,) = courses(analysis).values()
    measured = [
        [value.value for value in each.values]
        for each in places.values()
        if (each.metric, each.layer) == ("dead_fraction", evidence.layer) and each.aggregation == "layer"
    ]
    assert all(value >= least for value, least in zip(measured[0], killed, strict=True))
    assert evidence.since in (200, 300)


def test_a_series_that_stays_as_it_was_is_healthy(tmp_path: Path, data: Path) -> None:
    run = write_series(tmp_path / "run", (0,))
    first = next((run / "checkpoints").iterdir())
    opened = open_checkpoint(first)
    metadata = opened.metadata.model_copy(update={"step": 100})  # type: ignore[attr-defined]
    save(first.with_name("step_000000100.safetensors"), opened.network(), metadata)
    with analyze(run, data, tmp_path / "analysis.h5") as analysis:
        (found,) = diagnose(analysis)
    assert found.state == "healthy"
    assert [each.evidence for each in found.modules] == [()] * len(found.modules)
    (encoder,) = found.modules
    assert {each.sign.probe for each in encoder.standing} == {*OF_STATISTICS, "redundancy"}
    assert all((each.first, each.step) == (each.last, 100) for each in encoder.standing)


def test_one_checkpoint_is_not_judged(tmp_path: Path, data: Path) -> None:
    found = diagnosis(tmp_path, data, (0,))
    assert found.state == "unknown"
    assert "One checkpoint" in found.notes[0]


def with_layers(run: Path, data: Path, out: Path, *layers: str) -> SeriesDiagnosis:
    planned = plan(open_series([run]), [open_observations(data)], out, choose_probes(OF_STATISTICS), layers)
    with planned.complete() as analysis:
        (found,) = diagnose(analysis)
    return found


def test_a_module_with_a_layer_that_was_not_looked_at_is_not_healthy(tmp_path: Path, data: Path) -> None:
    # The units die in the second layer.
    run = write_series(tmp_path / "run", (0, 100, 200, 300))
    found = with_layers(run, data, tmp_path / "analysis.h5", "*relu1")
    (encoder,) = found.modules
    assert (found.state, encoder.state, encoder.unseen) == ("unknown", "unknown", ("encoder.relu2",))
    assert {each.layer for each in encoder.standing} == {"encoder.relu1"}
    whole = with_layers(run, data, tmp_path / "analysis.h5", "*")
    assert (whole.state, whole.modules[0].unseen) == ("degrading", ())


def test_the_layer_that_shows_a_loss_is_told_though_others_were_not_looked_at(tmp_path: Path, data: Path) -> None:
    run = write_series(tmp_path / "run", (0, 100, 200, 300))
    found = with_layers(run, data, tmp_path / "analysis.h5", "*relu2")
    assert (found.state, found.modules[0].unseen) == ("degrading", ("encoder.relu1",))


def test_checkpoints_are_compared_at_equal_numbers_of_observations_only_and_it_is_said(
    tmp_path: Path, data: Path
) -> None:
    run, out, observations = (
        write_series(tmp_path / "run", (0, 100, 200, 300)),
        tmp_path / "a.h5",
        [open_observations(data)],
    )
    whole = open_series([run])
    early = [replace(each, checkpoints=each.checkpoints[:2]) for each in whole]
    late = [replace(each, checkpoints=each.checkpoints[2:]) for each in whole]
    plan(early, observations, out, choose_probes(OF_STATISTICS)).complete().close()
    with plan(late, observations, out, choose_probes(OF_STATISTICS), samples=300).complete() as analysis:
        (found,) = diagnose(analysis)
        (places,) = courses(analysis).values()
    assert {value.samples for course in places.values() for value in course.values} == {300}
    assert (found.first_step, found.last_step) == (200, 300)
    # Against step 0, whose 400 observations are too many, it would be degrading: 6 units of 16 died.
    assert found.state == "healthy"
    assert found.notes[0] == (
        "Not compared: steps 0, 100, measured on 400 observations where the last checkpoint has 300 "
        "(activity, collapse, dormancy, fau, rank)."
    )


def named_in_notes(diagnosis: SeriesDiagnosis) -> set[str]:
    (note,) = [each for each in diagnosis.notes if each.startswith("Not measured")]
    return {name for name in ("activity", "redundancy", "saturation", "dormancy") if f"`--probe {name}`" in note}


def test_probes_that_were_not_run_are_named_where_they_matter(tmp_path: Path, data: Path) -> None:
    for kind, missing in (("relu", {"redundancy"}), ("tanh", {"redundancy", "saturation"})):
        run = write_series(tmp_path / kind, (0, 100), spec=with_activation(SPEC, kind))
        with analyze(run, data, tmp_path / f"{kind}.h5", OF_STATISTICS) as analysis:
            (found,) = diagnose(analysis)
        assert named_in_notes(found) == missing
    with analyze(tmp_path / "relu", data, tmp_path / "rank.h5", ["rank"]) as analysis:
        (found,) = diagnose(analysis)
    assert named_in_notes(found) == {"activity", "redundancy", "dormancy"}


def test_measures_that_a_rectifier_cannot_have_are_not_left_open(tmp_path: Path, data: Path) -> None:
    run = write_series(tmp_path / "run", (0, 100))
    with analyze(run, data, tmp_path / "a.h5", ["default"]) as analysis:
        (found,) = diagnose(analysis)
        (said,) = plain([found], {})
    assert found.modules[0].not_judged == () and not any(each.startswith("Not measured") for each in found.notes)
    assert said["modules"][0]["not_judged"] == said["modules"][0]["not_measured"] == []
    with analyze(run, data, tmp_path / "b.h5", ["saturation"]) as analysis:
        (nothing,) = diagnose(analysis)
    assert (nothing.state, nothing.modules[0].not_judged) == ("unknown", ())


def test_few_observations_are_not_judged(tmp_path: Path) -> None:
    few = write_observations(tmp_path / "few.h5", samples=100)
    found = diagnosis(tmp_path, few, (0, 100, 200, 300))
    assert found.state == "unknown"
    assert all(module.not_judged for module in found.modules)


def test_nan_weights_are_lost(tmp_path: Path, data: Path) -> None:
    run = write_series(tmp_path / "run", (0, 100))
    last = sorted((run / "checkpoints").iterdir())[-1]
    opened = open_checkpoint(last)
    network = opened.network()
    with torch.no_grad():
        network.get_parameter("encoder.dense1.weight").fill_(float("nan"))
    save(last, network, opened.metadata)  # type: ignore[attr-defined]
    with analyze(run, data, tmp_path / "analysis.h5") as analysis:
        (found,) = diagnose(analysis)
    assert found.state == "lost"


def test_thresholds_come_from_settings() -> None:
    thresholds, others = thresholds_from(["diagnosis.units=0.9", "dormancy.thresholds=0"])
    assert (thresholds.units, others) == (0.9, ["dormancy.thresholds=0"])
    with pytest.raises((ConfigurationError, UnknownNameError), match="units"):
        thresholds_from(["diagnosis.unit=0.9"])
    with pytest.raises(ConfigurationError, match="two"):
        thresholds_from(["diagnosis.units=two"])
