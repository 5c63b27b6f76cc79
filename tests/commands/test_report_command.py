"""`probe report` from the command line."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from probe.commands.report import report
from probe.errors import ProbeError
from tests.probe.figures.synthetic import write_synthetic_analysis, write_synthetic_run

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(report)


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    path = write_synthetic_analysis(tmp_path / "analysis.h5", steps=(0, 10_000))
    write_synthetic_run(tmp_path / "runs" / "baseline" / "seed0")
    write_synthetic_run(tmp_path / "runs" / "specnorm" / "seed0", "specnorm")
    return [str(path), str(tmp_path / "runs")]


def test_a_report_is_written_and_its_page_named(inputs: list[str], tmp_path: Path) -> None:
    arguments = [
        *inputs,
        "--out",
        str(tmp_path / "out"),
        "--format",
        "html,tex",
        "--figure",
        "fau",
        "--figure",
        "returns",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "index.html" in result.stdout and "spectral norm" in result.stdout
    assert (tmp_path / "out" / "index.html").read_text().count("<svg") == 2
    assert (tmp_path / "out" / "overview.tex").exists()


def test_the_terminal_needs_no_folder(inputs: list[str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, [*inputs, "--terminal"])
    assert result.exit_code == 0
    assert "Effective rank, layer dense" in result.stdout and "█" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_json_is_all_that_is_printed(inputs: list[str], tmp_path: Path) -> None:
    arguments = [
        *inputs,
        "--out",
        str(tmp_path / "out"),
        "--format",
        "svg",
        "--format",
        "csv",
        "--figure",
        "fau",
        "--json",
    ]
    content = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert content["figures"] == ["fau"] and {"figures/fau.svg", "rows.csv"} <= {*content["files"]}
    assert {Path(name).suffix for name in content["files"]} == {".svg", ".csv"}
    entry = next(each for each in content["entries"] if each["measure"] == "Dead units")
    assert entry["change"] == pytest.approx(entry["last"] - entry["first"])
    assert "entries" in json.loads(CliRunner().invoke(app, [*inputs, "--terminal", "--json"]).stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.h5", "--out", "out"], "there is no such file"),
        (["{inputs}"], "--out DIR"),
        (["{inputs}", "--out", "out", "--format", "gif"], "Unknown format 'gif'"),
        (["{inputs}", "--out", "out", "--figure", "falu"], "Did you mean: fau"),
        (["{inputs}", "--out", "out", "--style", "poster"], "Unknown style"),
        (["{inputs}", "--out", "out", "--layer", "dens"], "Did you mean: dense"),
        (["{inputs}", "--out", "runs"], "no report"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_written(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    given = [part for argument in arguments for part in (inputs if argument == "{inputs}" else [argument])]
    error = CliRunner().invoke(app, given).exception
    assert isinstance(error, ProbeError) and error.exit_code == 2
    assert message in str(error)
    assert sorted(tmp_path.rglob("*")) == before
