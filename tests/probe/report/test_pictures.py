"""The pictures of a report: every figure in every format, and the same bytes each time."""

import re
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from probe.figures import Material
from probe.report import Report, write_report
from tests.probe.report.conftest import DRAWN


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
