"""Series, layers, curves and views of analyses and training logs."""

from pathlib import Path

import numpy as np
import pytest

from probe.errors import FileError, UnknownNameError
from probe.figures import Material
from probe.figures.curves import Curve, mean_over_seeds
from probe.figures.logs import open_log
from probe.results import open_analysis
from tests.probe.figures.synthetic import write_synthetic_analysis, write_synthetic_run


def curve(steps: list[int], values: list[float], low: list[bool] | None = None) -> Curve:
    return Curve("a", 0, np.array(steps), np.array(values, dtype=float), np.array(low or [False] * len(steps)))


def test_the_mean_is_of_the_same_seeds_at_every_step() -> None:
    mean = mean_over_seeds([curve([0, 10, 20], [1, 2, np.nan]), curve([0, 10, 20, 30], [3, 4, 5, 6])])
    np.testing.assert_array_equal(mean.steps, [0, 10, 20, 30])
    np.testing.assert_array_equal(mean.values, [2, 3, np.nan, np.nan])


def test_the_mean_of_few_samples_is_of_few_samples() -> None:
    mean = mean_over_seeds([curve([0, 10], [1, 2], [False, True]), curve([0, 10], [1, 2])])
    assert mean.low_sample.tolist() == [False, True]


def test_curves_hold_the_rows_in_step_order(tmp_path: Path) -> None:
    analysis = open_analysis(write_synthetic_analysis(tmp_path / "a.h5", steps=(0, 20, 10)))
    material = Material((analysis,))
    (baseline, spectral) = material.curves("dormancy", "dormant_fraction", "micro", module="all", threshold=0.1)
    assert (baseline.series, spectral.series) == ("baseline", "spectral norm")
    assert baseline.steps.tolist() == [0, 10, 20]
    for step, value in zip(baseline.steps, baseline.values, strict=True):
        rows = analysis.select(
            method="baseline", metric="dormant_fraction", threshold=0.1, aggregation="micro", module="all", step=step
        )
        assert rows["value"].tolist() == [value]


def test_a_series_in_two_files_is_one_curve(tmp_path: Path) -> None:
    first = write_synthetic_analysis(tmp_path / "a.h5", methods=("baseline",), steps=(0, 10))
    second = write_synthetic_analysis(tmp_path / "b.h5", methods=("baseline",), steps=(10, 20))
    material = Material((open_analysis(first), open_analysis(second)))
    (curve,) = material.curves("fau", "fau", "micro", module="encoder")
    assert curve.steps.tolist() == [0, 10, 20]


def test_runs_that_share_a_method_are_told_apart(tmp_path: Path) -> None:
    files = [
        write_synthetic_analysis(tmp_path / f"{run}.h5", methods=("baseline",), run=run) for run in ("long", "short")
    ]
    material = Material(tuple(open_analysis(file) for file in files))
    assert list(material.series.values()) == ["baseline (long)", "baseline (short)"]


def test_the_baseline_comes_first(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5", methods=("specnorm", "baseline"))
    assert list(Material((open_analysis(path),)).series.values()) == ["baseline", "spectral norm"]


def test_modules_without_a_nonlinearity_have_no_curve(tmp_path: Path) -> None:
    material = Material((open_analysis(write_synthetic_analysis(tmp_path / "a.h5")),))
    assert material.curves("fau", "fau", "micro", module="actor") == []


def test_a_layer_is_found_by_name_label_and_id(tmp_path: Path) -> None:
    material = Material((open_analysis(write_synthetic_analysis(tmp_path / "a.h5")),))
    found = [material.layer(name) for name in ("conv 2", "encoder.conv2", "encoder.relu2")]
    assert {entry.label if entry else None for entry in found} == {"encoder.conv2"}
    last = material.layer(None)
    assert last is not None and last.name == "dense"
    with pytest.raises(UnknownNameError, match="Did you mean: conv 4"):
        material.layer("conv 44")


def test_every_observation_set_is_a_view_of_its_own(tmp_path: Path) -> None:
    files = [write_synthetic_analysis(tmp_path / f"{digest}.h5", data=digest * 64) for digest in "ab"]
    views = Material(tuple(open_analysis(file) for file in files)).views()
    assert list(views) == [f"procgen:coinrun, 2,560 observations, {digest * 8}" for digest in "ab"]
    for digest, view in zip("ab", views.values(), strict=True):
        assert {snapshot.data for snapshot in view.snapshots()} == {digest * 64}


def test_a_log_skips_empty_cells_and_knows_its_shifts(tmp_path: Path) -> None:
    log = open_log(write_synthetic_run(tmp_path / "run", updates=30, shifts=(10, 20)))
    steps, values = log.logged("return/test")
    assert steps.tolist() == [0, 5120, 10240, 15360, 20480, 25600]
    assert np.isfinite(values).all()
    assert log.shifts == [10 * 1024, 20 * 1024]
    assert log.logged("return/none")[0].tolist() == []


def test_a_line_that_is_being_written_is_no_line(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", updates=4)
    with (folder / "metrics.csv").open("a") as file:
        file.write("4096,4096,4,0,1.2345,1")
    assert open_log(folder).columns["step"].tolist() == [0, 1024, 2048, 3072]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.toml", "name = ", "damaged"),
        ("metrics.csv", "a,b\n1,2\n", "names the column 'step'"),
        ("metrics.csv", "", "names the column 'step'"),
        ("metrics.csv", "step,x\n1,many\n", "not a number"),
        ("metrics.csv", None, "cannot be read"),
    ],
)
def test_a_damaged_run_is_refused(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    folder = write_synthetic_run(tmp_path / "run", updates=3)
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    with pytest.raises(FileError, match=message):
        open_log(folder)
