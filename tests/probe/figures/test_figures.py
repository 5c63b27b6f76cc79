"""What is drawn is what was measured, and it can be read."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from probe.errors import UnknownNameError
from probe.figures import Material, NothingToDraw, Settings, figure_class, figure_classes, registry, style
from probe.figures.activation_rate import histogram
from probe.figures.activation_timeline import log_ticks
from probe.figures.lines import marked
from probe.figures.logs import open_log
from probe.figures.returns import mean_log
from probe.figures.spectrum import normalised
from probe.figures.spectrum_cumulative import cumulative
from probe.figures.style import looks
from probe.results import open_analysis
from tests.probe.figures.detected import write_detection
from tests.probe.figures.synthetic import write_synthetic_analysis, write_synthetic_run

NAMES = (
    "returns", "detection", "activation_timeline", "dormancy", "dead_units", "overlap", "fau", "effective_rank",
    "spectrum", "spectrum_cumulative", "activation_rate",
)  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Two methods, one seed, six checkpoints: the demo."""
    return material(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Six methods of two seeds over millions of steps, one checkpoint without numbers."""
    methods = ("baseline", "specnorm", "layernorm+l2-init", "redo", "crelu", "shrink-and-perturb")
    steps = (0, 500_000, 1_000_000, 1_500_000)
    folder = tmp_path_factory.mktemp("crowd")
    return material(folder, methods=methods, seeds=(0, 1), steps=steps, nonfinite_step=500_000)


def material(folder: Path, methods: tuple[str, ...] = ("baseline", "specnorm"), **settings: object) -> Material:
    path = write_synthetic_analysis(folder / "a.h5", methods=methods, **settings)  # type: ignore[arg-type]
    write_detection(path, {"actor": 0.1, "critic": 1.0})
    runs = [write_synthetic_run(folder / method / f"seed{seed}", method, seed) for method in methods for seed in (0, 1)]
    return Material((open_analysis(path),), tuple(open_log(run) for run in runs))


def draw(name: str, of: Material, style_name: str = "paper", settings: Settings | None = None) -> Figure:
    look = style(style_name)
    with rc_context(look.parameters()):
        figure = figure_class(name)().draw(of, look, settings or Settings())
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return figure


def line(figure: Figure, panel: int, label: str) -> tuple[list[float], list[float]]:
    (found,) = [each for each in figure.axes[panel].lines if each.get_label() == label]
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def test_the_registry_knows_every_figure_with_a_line_on_each() -> None:
    assert tuple(registry()) == NAMES
    assert all(summary.endswith(".") for summary in registry().values())
    assert all(kind.title and kind.shows and kind.caution for kind in figure_classes().values())


def test_an_unknown_figure_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean: dormancy"):
        figure_class("dormncy")


# Data


@pytest.mark.parametrize(
    ("name", "probe", "metric", "threshold"),
    [("dormancy", "dormancy", "dormant_fraction", 0.025), ("dead_units", "activity", "dead_fraction", None)],
)
def test_fractions_over_training_are_the_rows(
    demo: Material, name: str, probe: str, metric: str, threshold: float | None
) -> None:
    figure = draw(name, demo)
    assert [panel.get_title() for panel in figure.axes] == [
        "conv 1",
        "conv 2",
        "conv 3",
        "conv 4",
        "dense",
        "all layers",
    ]
    rows = demo.analyses[0].select(probe=probe, metric=metric, method="specnorm")
    chosen = np.ones(len(rows["step"]), dtype=bool) if threshold is None else rows["threshold"] == threshold
    layer = chosen & (rows["layer"] == "encoder.relu_dense")
    whole = chosen & (rows["module"] == "all") & (rows["aggregation"] == "micro")
    for panel, of in ((4, layer), (5, whole)):
        steps, values = line(figure, panel, "_spectral norm")
        assert steps == rows["step"][of].tolist()
        assert values == pytest.approx(100 * rows["value"][of])


def test_another_tau_comes_from_the_stored_means(demo: Material) -> None:
    stored = draw("dormancy", demo, settings=Settings(tau=0.025))
    computed = draw("dormancy", demo, settings=Settings(tau=0.0250001))
    for panel in range(6):
        assert line(computed, panel, "_baseline")[1] == pytest.approx(line(stored, panel, "_baseline")[1])


def test_fau_is_drawn_for_modules_that_have_one(demo: Material) -> None:
    figure = draw("fau", demo)
    assert [panel.get_title() for panel in figure.axes] == ["encoder, by activation", "encoder, by layer"]
    for panel, how in enumerate(("micro", "macro")):
        rows = demo.analyses[0].select(metric="fau", aggregation=how, module="encoder", method="baseline")
        assert line(figure, panel, "_baseline")[1] == pytest.approx(100 * rows["value"])


def test_effective_rank_is_of_the_last_encoder_layer_or_the_chosen_one(demo: Material) -> None:
    for layer, chosen in (("encoder.relu_dense", None), ("encoder.relu3", "conv 3")):
        figure = draw("effective_rank", demo, settings=Settings(layer=chosen))
        for panel, metric in enumerate(("effective_rank", "effective_rank_centred")):
            rows = demo.analyses[0].select(metric=metric, layer=layer, method="baseline")
            assert line(figure, panel, "_baseline")[1] == pytest.approx(rows["value"])


def test_the_untrained_network_is_a_dotted_line(demo: Material) -> None:
    figure = draw("dead_units", demo)
    rows = demo.analyses[0].select(metric="dead_fraction", layer="encoder.relu_dense", step=0, method="baseline")
    assert set(line(figure, 4, "_baseline step 0")[1]) == {100 * rows["value"][0]}


def test_spectra_are_of_the_first_and_the_last_checkpoint(demo: Material) -> None:
    snapshots = [each for each in demo.snapshots() if each.series == "baseline"]
    figure, cumulated = draw("spectrum", demo), draw("spectrum_cumulative", demo)
    assert figure.axes[0].get_yscale() == "log"
    for snapshot, which in ((snapshots[0], "first"), (snapshots[-1], "last")):
        values = snapshot.array("encoder.dense", "singular_values")
        assert values is not None
        assert line(figure, 0, f"_baseline seed 0 {which}")[1] == pytest.approx(values / values.max())
        assert line(cumulated, 0, f"_baseline seed 0 {which}")[1] == pytest.approx(100 * values.cumsum() / values.sum())


def test_the_overlap_is_that_of_the_sets_of_dormant_units(demo: Material) -> None:
    snapshots = [each for each in demo.snapshots() if each.series == "baseline"]
    arrays = [snapshot.array("encoder.dense", "mean_abs") for snapshot in snapshots]
    sets = [{*np.flatnonzero(means <= 0.025 * means.mean())} for means in arrays if means is not None]
    expected = [[100 * len(a & b) / min(len(a), len(b)) for a in sets] for b in sets]
    mesh = draw("overlap", demo).axes[0].collections[0]
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(6, 6), expected)


def test_cells_without_dormant_units_are_left_empty(tmp_path: Path) -> None:
    small = material(tmp_path, methods=("baseline",), layers=(("conv1", 8, 4), ("dense", 16, 1)))
    assert draw("dormancy", small).axes[1].lines[1].get_ydata()[0] == 0  # type: ignore[index]
    values = np.asarray(draw("overlap", small).axes[0].collections[0].get_array()).reshape(6, 6)
    assert np.isnan(values[0]).all() and np.isnan(values[:, 0]).all()
    assert values[5, 5] == 100


def test_returns_are_the_log_with_its_shifts(demo: Material) -> None:
    figure = draw("returns", demo)
    for panel, metric in enumerate(("return/train", "return/test")):
        seed = next(curve for curve in demo.logged(metric) if curve.series == "baseline" and curve.seed == 1)
        assert line(figure, panel, "_baseline seed 1") == (seed.steps.tolist(), seed.values.tolist())
        assert line(figure, panel, "_shift")[0] == [20 * 1024] * 2


def test_the_activation_timeline_is_the_log_with_a_bar_where_a_layer_was_collapsed(demo: Material) -> None:
    figure = draw("activation_timeline", demo)
    titles = [f"{layer}: {what}" for layer in ("conv 1", "actor dense") for what in ("mean |h|", "dormant")]
    assert [panel.get_title() for panel in figure.axes] == titles
    steps = [update * 1024 for update in range(0, 40, 4)]
    assert line(figure, 0, "_baseline seed 1") == (steps, [0.1 + step / 1_024_000 for step in steps])
    silent = [20 <= step / 1024 < 32 for step in steps]
    means, bar = (line(figure, panel, f"_baseline seed 1{what}")[1] for panel, what in ((2, ""), (3, " collapsed")))
    assert np.isnan(means).tolist() == silent and np.isfinite(bar).tolist() == silent
    assert line(figure, 3, "_baseline seed 1")[1] == [100.0 if gone else 50.0 for gone in silent]
    assert len({line(figure, 3, f"_{series} seed {seed} collapsed")[1][5] for series in ("baseline", "spectral norm")
                for seed in (0, 1)}) == 4  # fmt: skip
    assert not [each for each in figure.axes[1].lines if "collapsed" in str(each.get_label())]


@given(st.floats(-6, 6), st.floats(0.301, 8))
def test_ticks_of_a_logarithmic_axis_are_few_and_within(start: float, decades: float) -> None:
    low, high = 10**start, 10 ** (start + decades)
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 10 and all(low <= tick <= high for tick in ticks)
    assert log_ticks(0.02, 0.3) == [0.03, 0.1, 0.3] and log_ticks(0.024, 0.085) == [0.03, 0.05, 0.07]


def test_undefined_values_leave_a_gap(crowd: Material) -> None:
    for name, panel in (("dormancy", 4), ("fau", 0), ("effective_rank", 0)):
        assert np.isnan(line(draw(name, crowd), panel, "_baseline")[1]).tolist() == [False, True, False, False]


def test_every_seed_has_a_thin_line_and_the_mean_a_thick_one(crowd: Material) -> None:
    panel = draw("dormancy", crowd).axes[4]
    widths = {str(each.get_label()): each.get_linewidth() for each in panel.lines}
    assert widths["_ReDo seed 0"] == widths["_ReDo seed 1"] < widths["_ReDo"]
    values = {str(each.get_label()): np.asarray(each.get_ydata(), dtype=float) for each in panel.lines}
    mean = (values["_ReDo seed 0"] + values["_ReDo seed 1"]) / 2
    np.testing.assert_allclose(values["_ReDo"], mean)


def test_few_samples_have_hollow_markers(tmp_path: Path) -> None:
    figure = draw("effective_rank", material(tmp_path, methods=("baseline",), samples=300))
    hollow = next(each for each in figure.axes[0].lines if each.get_label() == "_baseline few samples")
    assert len(np.asarray(hollow.get_xdata())) == 6
    assert hollow.get_markerfacecolor() != hollow.get_color()
    assert "few samples" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_with_fewer_samples_than_units_there_is_no_rank(tmp_path: Path) -> None:
    of = material(tmp_path, methods=("baseline",), samples=100)
    with pytest.raises(NothingToDraw, match="fewer observations than the 256 units"):
        draw("effective_rank", of)
    with pytest.raises(NothingToDraw, match="at least as many observations"):
        draw("spectrum", of)


@pytest.mark.parametrize("name", NAMES)
def test_without_data_there_is_a_reason_and_no_figure(name: str) -> None:
    with pytest.raises(
        NothingToDraw, match=r"Run `probe analyze`|`probe report RUN \.\.\.`|monitor.every=1000|`probe detect RUN"
    ):
        draw(name, Material())


# Formulas


def test_a_cumulative_spectrum_of_known_values() -> None:
    index, shares = cumulative(np.array([4.0, 2.0, 1.0, 1.0]))
    assert (index.tolist(), shares.tolist()) == ([1, 2, 3, 4], [50, 75, 87.5, 100])
    assert np.isnan(cumulative(np.zeros(3))[1]).all()


def test_a_normalised_spectrum_leaves_out_rounding() -> None:
    np.testing.assert_array_equal(normalised(np.array([2.0, 1.0, 1e-12]))[1], [1, 0.5, np.nan])
    assert np.isnan(normalised(np.zeros(3))[1]).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_a_histogram_counts_every_unit_once(rates: list[float]) -> None:
    edges, shares = histogram(np.array(rates))
    assert len(edges) == len(shares) and shares[0] == shares[-1] == 0
    assert shares[2:-1].sum() == pytest.approx(100)


def test_the_mean_return_reads_seeds_off_between_their_episodes(demo: Material) -> None:
    first, second = (curve for curve in demo.logged("return/train") if curve.series == "baseline")
    mean = mean_log([first, second])
    both = [np.interp(mean.steps, curve.steps, curve.values) for curve in (first, second)]
    np.testing.assert_allclose(mean.values, (both[0] + both[1]) / 2)


@given(st.integers(1, 500), st.integers(0, 20))
def test_a_line_has_a_few_markers(points: int, place: int) -> None:
    first, every = marked(points, place)
    assert 1 <= len(range(first, points, every)) <= 14


def test_many_series_look_different_each() -> None:
    names = [f"method {index}" for index in range(42)]
    found = looks(names).values()
    assert len(set(map(str, found))) == 42
    assert len({look.colour for look in list(found)[:7]}) == 7


# Legibility


def texts(figure: Figure) -> Iterator[Text]:
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text().strip():
            yield text


def shown(figure: Figure) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Returns text and bounding box of everything written; tick labels outside of the view are not drawn."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    hidden = set()
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            inside = {id(tick) for tick in axis.get_major_ticks() if low <= float(tick.get_loc()) <= high}
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                labels = ((tick.label1, tick.label1.get_visible()), (tick.label2, tick.label2.get_visible()))
                hidden |= {id(label) for label, seen in labels if not seen or id(tick) not in inside}
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure) if id(text) not in hidden]
    return [(text, box.extents) for text, box in boxes]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("style_name", ["paper", "slides"])
@pytest.mark.parametrize("case", ["demo", "crowd"])
def test_a_figure_can_be_read(name: str, style_name: str, case: str, request: pytest.FixtureRequest) -> None:
    figure = draw(name, request.getfixturevalue(case), style_name)
    assert figure.get_size_inches()[0] == pytest.approx(style(style_name).width_cm / 2.54)
    assert all(float(text.get_fontsize()) >= 6.5 for text in texts(figure))
    written = shown(figure)
    for (text, first), (other, second) in itertools.combinations(written, 2):
        wide = min(first[2], second[2]) - max(first[0], second[0])
        high = min(first[3], second[3]) - max(first[1], second[1])
        assert wide <= 0.5 or high <= 0.5, f"'{text}' and '{other}' overlap"
    for text, (left, bottom, right, top) in written:
        inside = (
            left >= -0.5 and bottom >= -0.5 and right <= figure.bbox.width + 0.5 and top <= figure.bbox.height + 0.5
        )
        assert inside, f"'{text}' is cut off"


@pytest.mark.parametrize("name", NAMES)
def test_the_legend_lies_off_the_data(crowd: Material, name: str) -> None:
    figure = draw(name, crowd)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        assert all(not box.overlaps(panel.get_window_extent(renderer)) for panel in figure.axes)
    assert all(panel.get_legend() is None for panel in figure.axes)
