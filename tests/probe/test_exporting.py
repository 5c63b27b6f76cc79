import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from probe.analysis import analyze
from probe.checkpoints import open_series
from probe.errors import FileError, UnknownNameError
from probe.exporting import export
from probe.results import COLUMNS, Analysis
from tests.probe.series import spoil, write_observations, write_series


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_series(tmp_path_factory.mktemp("run"), steps=(0, 100))
    spoil(folder, 100)  # for numbers that are null
    return folder


@pytest.fixture(scope="module")
def analysis(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analysis]:
    folder = tmp_path_factory.mktemp("data")
    with analyze(run, write_observations(folder / "o.h5", 100), folder / "a.h5") as analysis:
        yield analysis


def test_a_checkpoint_becomes_a_plain_state_dict(run: Path, tmp_path: Path) -> None:
    (checkpoint, _) = open_series([run])[0].checkpoints
    written = export(checkpoint.path, "pt", tmp_path / "c.pt")
    state = torch.load(written, weights_only=True)
    network = checkpoint.network()
    assert type(state) is dict and network.load_state_dict(state)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_a_csv_has_every_row_and_nothing_for_null(analysis: Analysis, tmp_path: Path) -> None:
    rows = list(csv.DictReader(export(analysis.path, "csv", tmp_path / "a.csv").open()))
    assert list(rows[0]) == list(COLUMNS) and len(rows) == len(analysis.rows["run"])
    assert [each["value"] == "" for each in rows] == np.isnan(analysis.rows["value"]).tolist()


def test_parquet_has_every_row_and_null_for_null(analysis: Analysis, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(export(analysis.path, "parquet", tmp_path / "a.parquet"))
    missing = np.isnan(analysis.rows["value"])
    assert table.column_names == list(COLUMNS) and 0 < missing.sum() == table["value"].null_count
    for name in COLUMNS:
        known = ~np.isnan(analysis.rows[name]) if COLUMNS[name] is float else np.ones(len(missing), dtype=bool)
        expected = [value if there else None for value, there in zip(analysis.rows[name].tolist(), known, strict=True)]
        assert table[name].to_pylist() == expected


def test_a_data_frame_has_the_chosen_rows(analysis: Analysis) -> None:
    pytest.importorskip("pandas")
    frame = analysis.to_pandas(metric="fau", aggregation="micro", module="encoder")
    assert list(frame.columns) == list(COLUMNS) and frame["step"].tolist() == [0, 100]
    assert frame["value"].isna().tolist() == [False, True] and frame["status"].tolist() == ["ok", "nonfinite"]
    assert len(analysis.to_pandas()) == len(analysis.rows["run"])


def test_an_analysis_without_a_file_of_its_own_is_whole_until_it_goes(run: Path, tmp_path: Path) -> None:
    analysis = analyze(run, write_observations(tmp_path / "o.h5", 100), probes=["fau"])
    path = analysis.path
    layer = analysis.layers[0]
    assert len(analysis.array(layer["checkpoint"], layer["data"], layer["layer"], "mean")) == layer["units"]
    analysis.close()
    assert path.exists()
    del analysis
    assert not path.exists() and not path.parent.exists()


def test_nothing_is_overwritten_and_nothing_else_exported(run: Path, analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(FileError, match="exists already"):
        export(analysis.path, "csv", tmp_path / "there.csv")
    assert (tmp_path / "there.csv").read_text() == "mine"
    with pytest.raises(UnknownNameError, match="csv"):
        export(analysis.path, "cvs", tmp_path / "a.cvs")
    with pytest.raises(FileError, match="2 checkpoints; one is expected"):
        export(run, "pt", tmp_path / "run.pt")
    with pytest.raises(FileError):
        export(analysis.path, "pt", tmp_path / "a.pt")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["there.csv"]
