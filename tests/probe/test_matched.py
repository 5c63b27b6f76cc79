"""Matched sets: each checkpoint on the observations of its own policy."""

from pathlib import Path

import pytest
import torch

from probe.analysis import analyze
from probe.checkpoints import open_series
from probe.datasets.collect import collect
from probe.datasets.sampling import Sampling
from probe.errors import ConfigurationError, FileError
from probe.inspection import describe
from probe.matched import MatchedObservations, open_data, open_matched
from probe.observations import open_observations
from tests.probe.series import ENVIRONMENT, by_hand, write_observations, write_series


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("run"), steps=(0, 100))


@pytest.fixture(scope="module")
def folder(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("matched")
    for checkpoint in open_series([series])[0].checkpoints:
        collect_with(checkpoint.path, made / f"{checkpoint.step}.h5")
    return made


def collect_with(checkpoint: Path, out: Path, samples: int = 60) -> None:
    (policy,) = open_series([checkpoint])[0].checkpoints
    collect(ENVIRONMENT, out, Sampling(samples=samples, stride=1, num_envs=4), policy)


def test_each_checkpoint_is_measured_on_its_own_set(series: Path, folder: Path, tmp_path: Path) -> None:
    with analyze(series, folder, tmp_path / "a.h5", ["default", "saturation"]) as analysis:
        assert len(analysis.data) == 1 and analysis.data[0]["kind"] == "matched"
        assert {row.data for row in analysis.row_list()} == {open_matched(folder).digest}
        assert {"dormancy", "saturation"} < set(analysis.rows["probe"])
        for checkpoint in open_series([series])[0].checkpoints:
            own = torch.cat(list(open_observations(folder / f"{checkpoint.step}.h5").batches(100)))
            for layer, hidden in by_hand(checkpoint.network(), own).items():
                mean = analysis.array(checkpoint.digest, analysis.data[0]["digest"], layer, "mean")
                assert mean == pytest.approx(hidden.double().mean(0).numpy(), rel=1e-6)


def test_a_pooled_set_beside_them_gets_what_compares_networks(series: Path, folder: Path, tmp_path: Path) -> None:
    pooled = write_observations(tmp_path / "o.h5", 60)
    with analyze(series, [folder, pooled], tmp_path / "a.h5", ["fau", "churn"]) as analysis:
        assert {row.data for row in analysis.row_list() if row.probe == "churn"} == {open_observations(pooled).digest}
        assert len({row.data for row in analysis.row_list() if row.probe == "fau"}) == 2


def test_what_compares_networks_is_refused_without_a_pooled_set(series: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="churn: compared on the same observations"):
        analyze(series, folder, tmp_path / "a.h5", ["fau", "churn"])
    assert not list(tmp_path.iterdir())


def test_the_folder_describes_itself(folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    for index, each in enumerate(sorted(folder.iterdir())):
        link(each, named / f"step_{index}.h5")
    described = describe(named, verify=True)
    assert (described.kind, described.whole) == ("matched observation sets", True)
    assert described.facts["sets"] == 2 and described.facts["samples of each"] == 60


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    target.symlink_to(source)


def test_a_checkpoint_without_a_set_is_named(folder: Path, tmp_path: Path) -> None:
    longer = write_series(tmp_path / "run", steps=(0, 100, 200))
    with pytest.raises(FileError, match="adds the sets that are missing"):
        analyze(longer, folder, tmp_path / "a.h5", ["fau"])


def test_what_does_not_fit_together_is_named(series: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no observation set"):
        open_matched(tmp_path)
    checkpoints = open_series([series])[0].checkpoints
    collect_with(checkpoints[0].path, tmp_path / "sizes" / "0.h5", 30)
    collect_with(checkpoints[1].path, tmp_path / "sizes" / "1.h5", 20)
    with pytest.raises(FileError, match=r"0\.h5 has 30 observations .* 1\.h5 20"):
        open_matched(tmp_path / "sizes")
    write_observations(tmp_path / "pooled" / "o.h5", 10)
    with pytest.raises(FileError, match="pooled, not collected by a checkpoint"):
        open_matched(tmp_path / "pooled")
    assert isinstance(open_data(folder), MatchedObservations) and open_data(folder).verify()
