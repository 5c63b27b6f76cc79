"""The report's folder: whole pictures, a page that needs nothing else, rows that read back, nothing ever lost."""

import csv
import json
import re
import zlib
from html.parser import HTMLParser
from math import isnan, nan
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from probe.checkpoints.native import CheckpointMetadata, save
from probe.errors import FileError, UnknownNameError
from probe.figures import Material, registry
from probe.networks import build, preset
from probe.report import FORMATS, Report, open_material, write_report
from probe.report.folder import MANIFEST, write_folder
from probe.report.overview import Entry, overview
from probe.report.recovery import recovery_of
from probe.report.tables import latex, overview_as_latex
from probe.results import COLUMNS, write_analysis
from probe.results.tabular import rows_as_csv
from tests.probe.figures.synthetic import write_synthetic_analysis, write_synthetic_run

DRAWN = [name for name in registry() if name != "detection"]
"""Figures of analyses and logs; there is no detection among them."""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("inputs")
    analysis = write_synthetic_analysis(folder / "analysis.h5", nonfinite_step=8192)
    for method in ("baseline", "specnorm"):
        write_synthetic_run(folder / "runs" / method / "seed0", method)
    return open_material([analysis, folder / "runs"])


@pytest.fixture(scope="module")
def report(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(material, tmp_path_factory.mktemp("out") / "report", FORMATS)


# Pictures


def test_every_figure_is_there_in_every_format(report: Report) -> None:
    pictures = {f"figures/{name}.{ending}" for name in DRAWN for ending in ("png", "svg", "pdf")}
    assert {*report.files} == pictures | {"index.html", "rows.csv", "recovery.csv", "overview.tex"}
    assert all((report.out / name).stat().st_size > 0 for name in report.files)
    assert [each.kind.name for each in report.skipped] == ["detection"]


def test_a_png_is_eight_centimetres_wide_at_300_dots_an_inch(report: Report) -> None:
    for path in (report.out / "figures").glob("*.png"):
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(content[16:20], "big") == pytest.approx(8 / 2.54 * 300, abs=1)


def test_a_pdf_embeds_truetype_and_no_type_3_font(report: Report) -> None:
    for path in (report.out / "figures").glob("*.pdf"):
        content = path.read_bytes()
        streams = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)
        whole = content + b"".join(_inflated(stream) for stream in streams)
        assert b"/Type3" not in whole
        assert b"/FontFile2" in whole, "the font is not in the file"


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(stream)
    except zlib.error:
        return b""


def test_an_svg_is_well_formed_and_needs_no_font(report: Report) -> None:
    for path in (report.out / "figures").glob("*.svg"):
        tree = ElementTree.parse(path)
        assert tree.getroot().tag.endswith("svg")
        assert not [each for each in tree.iter() if each.tag.endswith("}text")]


def test_the_same_input_gives_the_same_bytes(report: Report, material: Material, tmp_path: Path) -> None:
    again = write_report(material, tmp_path / "again", ("png", "svg", "pdf"), ["fau"])
    for name in again.files:
        assert (again.out / name).read_bytes() == (report.out / name).read_bytes()


# The page


class _Page(HTMLParser):
    """Collects what a browser would fetch, every id, and what is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "srcset", "data", "action", "poster"):
                self.fetched.append(value or "")
            elif name in ("href", "xlink:href"):
                (self.targets if (value or "").startswith("#") else self.fetched).append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return (report.out / "index.html").read_text()


def test_the_page_needs_nothing_else(html: str) -> None:
    page = _Page()
    page.feed(html)
    assert page.open == []
    assert [each for each in page.fetched if not each.startswith("data:")] == []
    assert not {"script", "link", "iframe", "img", "object"} & {*page.tags}
    assert not re.search(r"https?:|@import|url\((?!#)", html)


def test_every_link_on_the_page_leads_somewhere_and_ids_are_unique(html: str) -> None:
    page = _Page()
    page.feed(html)
    assert len(page.ids) == len({*page.ids})
    used = {*page.targets, *(f"#{name}" for name in re.findall(r"url\(#([^)]*)\)", html))}
    assert used <= {f"#{name}" for name in page.ids}


def test_the_page_holds_every_figure_with_its_words(html: str, report: Report) -> None:
    assert html.count("<svg") == len(DRAWN)
    for each in report.drawn:
        for words in (each.kind.title, each.kind.shows, each.kind.caution):
            assert words.replace("&", "&amp;").replace("'", "&#x27;") in html


def test_the_page_says_where_its_numbers_come_from(html: str, material: Material) -> None:
    (analysis,) = material.analyses
    for each in analysis.checkpoints:
        assert each["digest"][:16] in html
    for words in (analysis.data[0]["digest"][:16], str(analysis.path), "matplotlib", "procgen:coinrun", "viewport"):
        assert words in html


def test_the_page_warns_of_checkpoints_without_numbers(html: str) -> None:
    assert "NaN or infinite activations" in html


def test_the_pictures_on_the_page_follow_the_readers_colours(html: str) -> None:
    assert "currentColor" in html and "var(--paper)" in html
    assert "#222222" not in html


def test_names_cannot_put_markup_into_the_page(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5", methods=("<script>x",), run="<b>&", steps=(0, 10))
    written = write_report(open_material([path]), tmp_path / "out", ("html",))
    assert "<script" not in (written.out / "index.html").read_text()
    assert "<b>" not in (written.out / "index.html").read_text()


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5")
    written = write_report(open_material([path]), tmp_path / "out", ("html",))
    assert [each.kind.name for each in written.skipped] == ["returns", "detection", "activation_timeline"]
    page = (written.out / "index.html").read_text()
    assert "No run folder was given" in page and "No analysis holds a detection" in page


def test_two_observation_sets_have_figures_of_their_own(tmp_path: Path) -> None:
    files = [write_synthetic_analysis(tmp_path / f"{digest}.h5", data=digest * 64, steps=(0, 9)) for digest in "ab"]
    written = write_report(open_material(files), tmp_path / "out", ("svg", "html"), ["fau"])
    assert [each.file for each in written.drawn] == ["fau-1", "fau-2"]
    assert "aaaaaaaa" in (written.out / "index.html").read_text()


# Tables


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


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_bytes(b""), "not a whole HDF5 file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50)), "not a whole HDF5 file"),
        (lambda path: path.mkdir(), "no run in it"),
        (lambda path: write_analysis(path, [], {}, [], {}), "without a single row"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "input"
    make(path)  # type: ignore[operator]
    with pytest.raises(FileError, match=message):
        open_material([path])


def test_a_truncated_analysis_is_refused(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5", steps=(0, 9))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FileError, match="not a whole HDF5 file"):
        open_material([path])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ("jpg",)}, "Unknown format 'jpg'"),
        ({"figures": ("dormanc",)}, "Did you mean: dormancy"),
        ({"style_name": "papr"}, "Did you mean: paper"),
    ],
)
def test_unknown_names_are_suggested_and_nothing_is_written(
    material: Material, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        write_report(material, tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_episodes_has_nothing_to_draw(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", finished=False)
    with pytest.raises(FileError, match="nothing to draw"):
        write_report(open_material([run]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The folder


def test_a_folder_of_something_else_is_not_touched(material: Material, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileError, match=r"holds files that are no report \(thesis.txt\)"):
        write_report(material, tmp_path, ("csv",))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_not_touched(material: Material, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileError, match="a file is in the way"):
        write_report(material, tmp_path / "out", ("csv",))
    assert (tmp_path / "out").read_text() == "mine"


def test_an_earlier_report_is_replaced_and_foreign_files_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, {"a.txt": b"1", "figures/b.txt": b"2"}, {})
    (out / "notes.txt").write_text("mine")
    write_folder(out, {"a.txt": b"3", "c.txt": b"4"}, {})
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {*found} == {"a.txt", "c.txt", "notes.txt", MANIFEST}
    assert (found["a.txt"], found["notes.txt"]) == (b"3", b"mine")


def test_a_foreign_file_under_a_name_of_the_report_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, {"a.txt": b"1"}, {})
    (out / "b.txt").write_text("mine")
    with pytest.raises(FileError, match="not written by a report"):
        write_folder(out, {"a.txt": b"2", "b.txt": b"2"}, {})
    assert ((out / "a.txt").read_bytes(), (out / "b.txt").read_text()) == (b"1", "mine")


def test_a_file_that_was_edited_by_hand_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, {"a.svg": b"1"}, {})
    (out / "a.svg").write_text("retouched")
    with pytest.raises(FileError, match="changed since the report was written"):
        write_folder(out, {"a.svg": b"2"}, {})
    assert (out / "a.svg").read_text() == "retouched"


def test_a_manifest_that_names_files_outside_is_no_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, {"a.txt": b"1"}, {})
    manifest = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_text(json.dumps({**manifest, "files": {"../victim.txt": []}}))
    with pytest.raises(FileError, match="no report"):
        write_folder(out, {"b.txt": b"2"}, {})


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write_folder(tmp_path / "out", {"a.txt": b"1", "a.txt/b.txt": b"2"}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write_folder(out, {"a.txt": b"1", "b.txt": b"1"}, {})
    replace = Path.replace

    def fail_on_b(self: Path, target: Path) -> Path:
        if Path(target).name == "b.txt":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_on_b)
        with pytest.raises(FileError, match="No space left"):
            write_folder(out, {"a.txt": b"2", "b.txt": b"2"}, {})
    assert ((out / "a.txt").read_bytes(), (out / "b.txt").read_bytes()) == (b"2", b"1")
    write_folder(out, {"a.txt": b"3", "b.txt": b"3"}, {})
    assert ((out / "a.txt").read_bytes(), (out / "b.txt").read_bytes()) == (b"3", b"3")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_values_that_are_null_stay_null_in_the_overview(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5", nonfinite_step=40960)
    assert all(isnan(each.last) for each in overview(open_material([path])))


# Recovery


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
