"""The page of a report needs nothing else and says where its numbers come from."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from probe.figures import Material
from probe.report import Report, open_material, write_report
from tests.probe.figures.synthetic import write_synthetic_analysis
from tests.probe.report.conftest import DRAWN


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
