"""Probes that need more than a layer's statistics: weights, pairs of checkpoints, and the whole series."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.observations import open_observations
from probe.probes.base import Finding, Findings, Probe, Reading
from probe.results import Analysis, open_analysis
from probe.subject import Point, Subject
from tests.probe.series import write_observations, write_series


@dataclass(frozen=True)
class LargestWeight(Probe):
    """The largest weight of each tensor."""

    name = "largest-weight"
    version = 1
    needs = "weights"
    factor: float = 1.0

    def measure(self, subject: Subject) -> Findings:
        state = subject.network().state_dict()
        found = [
            Finding(Reading("largest", self.factor * float(state[k].max())), layer=k, units=len(state[k]))
            for k in state
        ]
        return Findings(found, {"encoder.relu1": {"first_weights": state["encoder.dense1.weight"].numpy()}})


@dataclass(frozen=True)
class OutputChange(Probe):
    """Largest change of the actor's outputs."""

    name = "output-change"
    version = 1
    needs = "pair"

    def measure_pair(self, earlier: Subject, later: Subject) -> Findings:
        with torch.no_grad():
            changes = [
                (later.network()(batch)["actor"] - earlier.network()(batch)["actor"]).abs().max().item()
                for batch in later.batches(64)
            ]
        return Findings([Finding(Reading("change", max(changes)), module="actor")])


@dataclass(frozen=True)
class Trend(Probe):
    """How much the mean of the last layer moved since the first checkpoint."""

    name = "trend"
    version = 1
    needs = "series"

    def measure_series(self, points: Sequence[Point]) -> Sequence[Findings]:
        means = [point.statistics["encoder.relu2"].mean.mean().item() for point in points]
        return [Findings([Finding(Reading("moved", mean - means[0]), layer="encoder.relu2")]) for mean in means]


PROBES = (LargestWeight(), OutputChange(), Trend())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("files")
    yield write_series(folder / "run"), write_observations(folder / "observations.h5", samples=100)


def run(files: tuple[Path, Path], out: Path, *probes: Probe, workers: int = 1) -> Analysis:
    planned = plan(open_series([files[0]]), [open_observations(files[1])], out, probes or PROBES)
    list(planned.measure(workers))
    list(planned.examine(workers))
    return planned.assemble()


def test_findings_become_rows_with_their_place(files: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint = open_series([files[0]])[0].checkpoints[1]
    bias = checkpoint.network().get_parameter("encoder.dense2.bias")
    with run(files, tmp_path / "a.h5") as analysis:
        rows = analysis.select(probe="largest-weight", layer="encoder.dense2.bias", step=100)
        assert rows["value"].tolist() == [pytest.approx(bias.max().item())]
        assert (rows["module"][0], rows["aggregation"][0], rows["units"][0]) == ("encoder", "layer", 16)
        arrays = analysis.layer_arrays(checkpoint.digest, analysis.data[0]["digest"])["encoder.relu1"]
        assert arrays["first_weights"].shape == (16, 4) and "mean_abs" in arrays


def test_pairs_are_with_the_first_checkpoint_and_the_one_before(files: tuple[Path, Path], tmp_path: Path) -> None:
    with run(files, tmp_path / "a.h5") as analysis:
        rows = analysis.select(probe="output-change")
        pairs = sorted(zip(rows["reference_step"].tolist(), rows["step"].tolist(), strict=True))
        assert pairs == [(0, 100), (0, 200), (100, 200)]
        assert set(rows["module"]) == {"actor"} and (rows["value"] >= 0).all()


def test_a_series_probe_gives_every_checkpoint_its_findings(files: tuple[Path, Path], tmp_path: Path) -> None:
    with run(files, tmp_path / "a.h5") as analysis:
        rows = analysis.select(probe="trend")
        assert rows["step"].tolist() == [0, 100, 200] and rows["value"][0] == 0


def test_work_is_done_once_and_again_for_other_parameters(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    run(files, out).close()
    series, data = open_series([files[0]]), [open_observations(files[1])]
    assert plan(series, data, out, PROBES).examinations == []
    again = plan(series, data, out, [LargestWeight(factor=2.0)])
    assert len(again.examinations) == 3 and again.items == []
    list(again.examine())
    with again.assemble() as analysis:
        assert len(analysis.examinations) == 3 + 3
        assert len(analysis.select(probe="output-change")["value"]) == 3


def test_what_other_parameters_have_renewed_is_done_again_with_the_first(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    def weights(factor: float) -> list[float]:
        with run(files, tmp_path / "a.h5", LargestWeight(factor)) as analysis:
            return list(analysis.select(probe="largest-weight", layer="encoder.dense2.bias")["value"])

    first, doubled = weights(1.0), weights(2.0)
    assert doubled == pytest.approx([2 * value for value in first]) and weights(1.0) == first


def test_an_interrupted_examination_goes_on_where_it_was(files: tuple[Path, Path], tmp_path: Path) -> None:
    series, data, out = open_series([files[0]]), [open_observations(files[1])], tmp_path / "a.h5"
    first = plan(series, data, out, PROBES)
    list(first.measure())
    next(first.examine())
    again = plan(series, data, out, PROBES)
    assert (len(again.items), len(again.examinations), len(again.missing)) == (0, 6, 5)
    list(again.examine())
    rows = {repr(row) for row in again.assemble().row_list()}
    assert rows == {repr(row) for row in run(files, tmp_path / "b.h5").row_list()}


def test_arrays_of_earlier_probes_survive_a_run_without_them(files: tuple[Path, Path], tmp_path: Path) -> None:
    run(files, tmp_path / "a.h5", LargestWeight()).close()
    run(files, tmp_path / "a.h5", Trend()).close()
    with open_analysis(tmp_path / "a.h5") as analysis:
        arrays = analysis.layer_arrays(analysis.checkpoints[0]["digest"], analysis.data[0]["digest"])
        assert "first_weights" in arrays["encoder.relu1"]


def test_a_subject_gives_the_rows_of_its_batches(files: tuple[Path, Path]) -> None:
    checkpoint, observations = open_series([files[0]])[0].checkpoints[0], open_observations(files[1])
    subject = Subject(checkpoint, observations, {}, {}, samples=30)
    rows = np.concatenate([batch.numpy() for batch in subject.batches(8)])
    every = np.concatenate([batch.numpy() for batch in observations.batches(100)])
    chosen = np.arange(30) * 100 // 30
    assert np.array_equal(rows, every[chosen])
    assert np.array_equal(subject.column("actions"), observations.column("actions")[chosen])


def test_random_streams_are_the_same_at_every_checkpoint(files: tuple[Path, Path]) -> None:
    observations = open_observations(files[1])
    first, second = (Subject(c, observations, {}, {}) for c in open_series([files[0]])[0].checkpoints[:2])

    def draw(subject: Subject, purpose: str, number: int) -> list[float]:
        return torch.rand(4, generator=subject.generator(purpose, number)).tolist()

    assert draw(first, "targets", 1) == draw(second, "targets", 1)
    assert draw(first, "targets", 1) != draw(first, "targets", 2) != draw(first, "batches", 2)
