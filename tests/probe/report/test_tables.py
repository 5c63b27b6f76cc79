"""The tables of a report: rows that read back, the overview, LaTeX, and the recovery after shifts."""

import csv
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
import torch

from probe.checkpoints.native import CheckpointMetadata, save
from probe.figures import Material
from probe.networks import build, preset
from probe.report import Report, open_material, write_report
from probe.report.overview import Entry, overview
from probe.report.recovery import recovery_of
from probe.report.tables import latex, overview_as_latex
from probe.results import COLUMNS
from probe.results.tabular import rows_as_csv
from tests.probe.figures.synthetic import write_synthetic_analysis, write_synthetic_run


def test_the_csv_reads_back_as_the_rows(report: Report, material: Material) -> None:
    (analysis,) = material.analyses
    with (report.out / "rows.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == list(COLUMNS)
    assert len(lines) - 1 == len(analysis.rows["run"])
    for at, (name, kind) in enumerate(COLUMNS.items()):
        cells = [line[at] for line in lines[1:]]
        read = [kind(cell) if cell or kind is str else nan for cell in cells]
        if kind is float:
            np.testing.assert_array_equal(np.array(read), analysis.rows[name])
        else:
            assert read == analysis.rows[name].tolist()
    assert any(line[list(COLUMNS).index("value")] == "" for line in lines[1:])


def test_a_row_in_two_files_stands_once_in_the_csv(tmp_path: Path) -> None:
    paths = [write_synthetic_analysis(tmp_path / name, steps=(0, 9)) for name in ("a.h5", "b.h5")]
    both = open_material(paths).analyses
    assert rows_as_csv(both) == rows_as_csv(both[:1])


def test_the_overview_holds_first_last_and_change(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5", seeds=(0, 1))
    material = open_material([path])
    entry = next(each for each in overview(material) if each.measure == "Dead units" and each.series == "baseline")
    rows = material.analyses[0].select(metric="dead_fraction", method="baseline", module="all", aggregation="micro")
    first, last = (rows["value"][rows["step"] == step].mean() for step in (0, 40960))
    assert (entry.seeds, entry.first, entry.last, entry.change) == pytest.approx((2, first, last, last - first))
    assert (entry.first_step, entry.last_step, len(entry.course)) == (0, 40960, 6)


def test_the_overview_has_no_line_for_a_module_without_nonlinearity(material: Material) -> None:
    assert not [entry for entry in overview(material) if "actor" in entry.where or "critic" in entry.where]


def test_returns_in_the_overview_are_ends_of_the_log(tmp_path: Path) -> None:
    material = open_material([write_synthetic_run(tmp_path / "run", updates=40)])
    (curve,) = material.logged("return/train")
    entry = next(each for each in overview(material) if each.where == "training levels")
    assert (entry.first, entry.last) == pytest.approx((curve.values[:2].mean(), curve.values[-2:].mean()))


def entry(first: float, last: float, unit: str) -> Entry:
    return Entry("a_b", 3, "Dead & gone", "layer 1", unit, 0, 50_000, first, last, (first, last), "")


def test_fractions_change_by_points_and_a_null_is_a_dash() -> None:
    assert entry(0.1, 0.25, "%").shown_change == "+15.0 pp"
    assert entry(10.0, 8.0, "").shown_change == "-2.0"
    assert (entry(nan, 1.0, "%").shown(nan), entry(nan, 1.0, "%").shown_change) == ("-", "-")


def test_the_latex_table_is_known() -> None:
    assert overview_as_latex([entry(0.1, 0.25, "%")]).splitlines()[4:] == [
        r"\midrule",
        r"Dead \& gone, layer 1 & a\_b (0 to 50k, 3 seeds) & 10.0 \% & 25.0 \% & +15.0 pp \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert latex("a\\b{c}~^$#") == r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}\$\#"


def test_values_that_are_null_stay_null_in_the_overview(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5", nonfinite_step=40960)
    assert all(isnan(each.last) for each in overview(open_material([path])))


def test_recovery_is_a_line_a_shift_in_the_table_and_on_the_page(report: Report, material: Material) -> None:
    with (report.out / "recovery.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["method"], line["seed"], line["shift"]) for line in lines] == [
        ("baseline", "0", str(19 * 1024)),
        ("specnorm", "0", str(19 * 1024)),
    ]
    log = material.logs[0]
    scores = log.columns["return/recent"]
    # The last tenth of the 19 * 1024 steps before the shift holds two updates; the shift sets the return to 1.
    before = scores[18:20].mean()
    assert float(lines[0]["before"]) == pytest.approx(before)
    assert float(lines[0]["drop"]) == pytest.approx(1 - 1 / before)
    half = next(row for row in range(20, 40) if scores[row] >= before / 2)
    assert int(lines[0]["steps_to_0.5"]) == (half - 19) * 1024
    page = (report.out / "index.html").read_text()
    assert "Recovery after task shifts" in page and f"{100 * (1 - 1 / before):.0f} %" in page


def test_runs_without_a_shift_have_no_recovery(tmp_path: Path) -> None:
    material = open_material([write_synthetic_run(tmp_path / "run", shifts=())])
    report = write_report(material, tmp_path / "report", ("csv", "html"))
    assert "recovery.csv" not in report.files
    assert "Recovery" not in (report.out / "index.html").read_text()


def test_the_sawtooth_of_a_run_is_read_from_its_newest_checkpoint(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", shifts=(10, 20, 30))
    network = build(preset("mlp", (4,), 2, 8), torch.Generator().manual_seed(0))
    done = [{"method": "reset-final", "step": step * 1024, "updates": step} for step in (9, 19, 29)]
    metadata = CheckpointMetadata(
        step=1, frames=1, updates=1, algorithm="ppo", network=network.spec, environment={}, acting={}, run="demo",
        method="reset-final", seed=0, task=0, interventions=[*done, {"method": "redo", "step": 3}], versions={},
    )  # fmt: skip
    save(run / "checkpoints" / "step_000000001.safetensors", network, metadata)
    material = open_material([run])
    scores = material.logs[0].columns["return/recent"]
    drops = [scores[row] - scores[row + 1 : row + 11].min() for row in (9, 19, 29)]
    gains = [scores[last] - scores[row + 1 : row + 11].min() for row, last in ((9, 19), (19, 29), (29, 39))]
    found = recovery_of(material.logs[0], material)
    assert found.sawtooth == pytest.approx(np.mean(drops) / np.mean(gains))
    report = write_report(material, tmp_path / "report", ("html",))
    assert f"sawtooth index {found.sawtooth:.2f}" in (report.out / "index.html").read_text()
