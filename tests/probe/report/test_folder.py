"""The folder of a report: bad input is refused, and nothing of anybody else is ever lost."""

import json
from pathlib import Path

import pytest

from probe.errors import FileError, UnknownNameError
from probe.figures import Material
from probe.report import open_material, write_report
from probe.report.folder import MANIFEST, write_folder
from probe.results import write_analysis
from tests.probe.figures.synthetic import write_synthetic_analysis, write_synthetic_run


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
