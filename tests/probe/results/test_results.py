"""The analysis file: rows, tables and arrays that survive a round trip."""

from math import isnan, nan
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from probe.errors import FileError
from probe.results import COLUMNS, Row, open_analysis, write_analysis
from probe.results.parts import PartStore
from probe.results.rows import columns_of, rows_of

CONTRACT = (
    "run, method, seed, task, step, reference_step, arm, draw, checkpoint, data, module, layer, probe, metric, "
    "aggregation, value, status, samples, units, threshold"
)


def row(**changes: Any) -> Row:
    values = {
        "run": "demo", "method": "baseline", "seed": 0, "task": 1, "step": 1024, "reference_step": -1, "arm": "",
        "draw": -1, "checkpoint": "c" * 64, "data": "d" * 64, "module": "encoder", "layer": "encoder.relu1",
        "probe": "dormancy", "metric": "dormant_fraction", "aggregation": "layer", "value": 0.25, "status": "ok",
        "samples": 2560, "units": 32, "threshold": 0.025,
    }  # fmt: skip
    return Row(**(values | changes))


def write(path: Path, rows: list[Row]) -> None:
    checkpoint = {"digest": "c" * 64, "run": "demo", "method": "baseline", "seed": 0, "step": 1024}
    arrays = {"encoder.relu1": {"mean_abs": np.arange(3.0), "singular_values": np.array([2.0, 1.0])}}
    write_analysis(
        path, rows, {"checkpoints": [checkpoint], "layers": []}, [("c" * 64, "d" * 64, arrays)], {"torch": "x"}
    )


def test_the_columns_are_exactly_those_of_the_contract() -> None:
    assert ", ".join(COLUMNS) == CONTRACT


def test_rows_survive_columns() -> None:
    rows = [row(), row(step=2048, layer="ünïcode")]
    assert rows_of(columns_of(rows)) == rows


def test_an_analysis_survives_the_file(tmp_path: Path) -> None:
    null = row(value=nan, status="nonfinite", threshold=nan)
    write(tmp_path / "a.h5", [row(), null])
    with open_analysis(tmp_path / "a.h5") as analysis:
        first, second = analysis.row_list()
        assert first == row()
        assert isnan(second.value) and isnan(second.threshold) and second.status == "nonfinite"
        assert analysis.checkpoints == [
            {"digest": "c" * 64, "run": "demo", "method": "baseline", "seed": 0, "step": 1024}
        ]
        assert analysis.layers == []
        assert analysis.series() == [("demo", "baseline", 0)]
        assert analysis.array("c" * 64, "d" * 64, "encoder.relu1", "mean_abs").tolist() == [0, 1, 2]
        assert analysis.layer_arrays("c" * 64, "d" * 64)["encoder.relu1"]["singular_values"].tolist() == [2, 1]
        assert analysis.layer_arrays("e" * 64, "d" * 64) == {}
        assert analysis.versions == {"torch": "x"}
        assert analysis.verify()


def test_select_keeps_the_rows_that_equal_every_value(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", [row(), row(module="critic", value=0.5), row(module="critic", step=2048)])
    with open_analysis(tmp_path / "a.h5") as analysis:
        assert analysis.select(module="critic", step=1024)["value"].tolist() == [0.5]
        assert len(analysis.select(module="actor")["value"]) == 0


def test_any_hdf5_library_reads_the_rows_as_one_table(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", [row()])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["rows"].dtype.names == tuple(COLUMNS)
        assert file["rows"]["metric"][0] == b"dormant_fraction"


def test_a_changed_value_is_found(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", [row()])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        table = file["rows"][()]
        table["value"][0] = 0.0
        file["rows"][...] = table
    with open_analysis(tmp_path / "a.h5") as analysis:
        assert not analysis.verify()


def test_missing_foreign_and_truncated_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        open_analysis(tmp_path / "none.h5")
    with pytest.raises(FileError, match="a folder"):
        open_analysis(tmp_path)
    with h5py.File(tmp_path / "foreign.h5", "w"):
        pass
    with pytest.raises(FileError, match="an analysis file is expected"):
        open_analysis(tmp_path / "foreign.h5")
    write(tmp_path / "a.h5", [row()])
    (tmp_path / "cut.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:1000])
    with pytest.raises(FileError, match="not a whole HDF5 file"):
        open_analysis(tmp_path / "cut.h5")


def test_a_failed_write_keeps_the_earlier_analysis(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, [row()])
    with pytest.raises(KeyError):
        write_analysis(path, [row()], {"checkpoints": [{"a": 1}, {"b": 2}]}, [], {})
    with open_analysis(path) as analysis:
        assert analysis.row_list() == [row()]
    assert list(tmp_path.iterdir()) == [path]


def test_parts_survive_and_broken_ones_do_not_count(tmp_path: Path) -> None:
    parts = PartStore(tmp_path / "a.h5")
    assert parts.load("x") is None
    parts.save("x", {"layer/mean": np.arange(4.0), "layer/count": np.array(7)}, {"layer": {"label": "conv 1"}})
    loaded = parts.load("x")
    assert loaded is not None
    assert loaded[0]["layer/mean"].tolist() == [0, 1, 2, 3] and loaded[0]["layer/count"].shape == ()
    assert loaded[1] == {"layer": {"label": "conv 1"}}
    file = parts.folder / "x.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    assert parts.load("x") is None
    parts.clear()
    assert not parts.folder.exists()
