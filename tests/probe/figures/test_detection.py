"""The detector in a report: the figure, the tables and the verdicts, and analyses without any."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from probe.detection.words import HEADER, table, title, verdict_line
from probe.figures import Material, NothingToDraw, Settings, figure_class, style
from probe.report import open_material, write_report
from probe.report.detections import detections_of
from tests.probe.figures.detected import write_detection
from tests.probe.figures.synthetic import write_synthetic_analysis


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return open_material([write_detection(tmp_path_factory.mktemp("detect") / "d.h5", {"actor": 0.0, "critic": 1.0})])


def drawn(material: Material, name: str = "paper") -> Figure:
    look = style(name)
    with rc_context(look.parameters()):
        figure = figure_class("detection")().draw(material, look, Settings())
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return figure


def test_every_module_has_a_row_with_the_arms_curves_and_the_pairs_gains(material: Material) -> None:
    figure = drawn(material)
    actor, critic = detections_of(material)
    curves, returns, losses = figure.axes[3:6]
    means = {line.get_label(): line for line in curves.get_lines()}
    assert {"_control", "_moment-reset", "_injected", "_injected 0"} <= means.keys()
    expected = np.mean([values for _, values in critic.curves["injected"].values()], axis=0)
    assert np.allclose(np.asarray(means["_injected"].get_ydata()), expected)
    gains = critic.comparisons()[0].differences
    assert np.allclose(np.asarray(returns.get_lines()[0].get_ydata()), gains)
    assert [label.get_text() for label in losses.get_xticklabels()] == ["fit", "TD"]
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == ["fit"]
    assert actor.module == "actor"


def test_the_verdicts_are_those_of_the_numbers(material: Material) -> None:
    actor, critic = detections_of(material)
    assert verdict_line(critic) == "plasticity lost in the critic (return, target fitting, TD error)"
    assert actor.verdict.state != "lost"
    assert title(critic).startswith("demo / baseline / seed 0 at step 50,000: critic, from critic.dense on. 5 pairs of")
    lines = table(critic)
    assert list(lines) == ["return", "target fitting", "TD error"]
    assert [arm for arm, *_ in lines["return"]] == ["moment-reset", "control", "injected"]
    assert [arm for arm, *_ in lines["TD error"]] == ["moment-reset", "injected"]
    assert all(len(line) == len(HEADER) for of in lines.values() for line in of)


@pytest.mark.parametrize("name", ["paper", "slides"])
def test_a_report_of_a_detection_alone_has_figure_table_and_verdict(
    material: Material, tmp_path: Path, name: str
) -> None:
    report = write_report(material, tmp_path / name, ["html", "png"], style_name=name)
    assert [each.file for each in report.drawn] == ["detection"]
    page = (tmp_path / name / "index.html").read_text()
    assert "plasticity lost in the critic" in page and "moment-reset" in page
    assert (tmp_path / name / "figures" / "detection.png").stat().st_size > 5_000


def test_detections_beside_an_analysis_change_no_figure_of_it(tmp_path: Path) -> None:
    path = write_synthetic_analysis(tmp_path / "a.h5", steps=(0, 10_000))
    before = [len(open_material([path]).snapshots()), list(open_material([path]).views())]
    write_detection(path, {"critic": 1.0})
    material = open_material([path])
    assert [len(material.snapshots()), list(material.views())] == before
    assert len(detections_of(material)) == 1


def test_without_a_detection_there_is_nothing_to_draw(tmp_path: Path) -> None:
    material = open_material([write_synthetic_analysis(tmp_path / "a.h5", steps=(0, 10_000))])
    with pytest.raises(NothingToDraw, match="probe detect RUN"):
        drawn(material)
