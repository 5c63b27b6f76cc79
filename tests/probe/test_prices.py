"""Prices: they scale with the work that probes declare, count what is shared once, and add up to what is printed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from probe.analysis import Plan, choose_probes, plan
from probe.checkpoints import open_series
from probe.examination import ProbeItem, subject_of
from probe.observations import open_observations
from probe.prices import Clock, Price, estimate, joined
from probe.probes.base import Findings, Probe, Work, registry
from probe.probes.drift import Drift
from probe.probes.fitting import Fitting
from probe.probes.gradient_dormancy import GradientDormancy
from probe.probes.injection import Injection
from probe.probes.layer_norms import LayerNorms
from probe.probes.policy_collapse import PolicyCollapse
from probe.probes.primacy import Primacy
from probe.probes.pruning import Pruning
from probe.subject import Subject
from tests.probe.series import write_observations, write_series


@dataclass(frozen=True)
class Declared(Probe):
    """A probe that does nothing but declare work."""

    name = "declared"
    version = 1
    needs = "network"
    forward: int = 0

    def work(self, subject: Subject) -> Work:
        return {"forward": self.forward}

    def measure(self, subject: Subject) -> Findings:
        return Findings([])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    return write_series(folder / "run"), write_observations(folder / "observations.h5", samples=100)


def unmeasured(files: tuple[Path, Path], out: Path, *probes: Probe) -> Plan:
    return plan(open_series([files[0]]), [open_observations(files[1])], out, probes)


def planned(files: tuple[Path, Path], out: Path, *probes: Probe) -> Plan:
    """The statistics are measured, by a run that asked for no more."""
    list(unmeasured(files, out).measure())
    return unmeasured(files, out, *probes)


def priced(price: Price) -> dict[tuple[Probe, int, bool], float]:
    return {(each.probe, each.checkpoint.step, bool(each.control)): s for each, s in price.seconds.items()}


def test_the_price_scales_with_the_work(files: tuple[Path, Path], tmp_path: Path) -> None:
    none, some, more = (Declared(forward=count) for count in (0, 1000, 3000))
    prices = priced(estimate(planned(files, tmp_path / "a.h5", none, some, more).missing))
    base = prices[none, 100, False]
    assert 0 < base < prices[some, 100, False]
    assert prices[more, 100, False] - base == pytest.approx(3 * (prices[some, 100, False] - base))
    assert {prices[more, step, False] for step in (0, 200)} == {prices[more, 100, False]}


@pytest.mark.parametrize("made", [planned, unmeasured])
def test_a_pass_that_probes_share_is_paid_for_once(
    files: tuple[Path, Path], tmp_path: Path, made: Callable[..., Plan]
) -> None:
    alone, company = (LayerNorms(),), (LayerNorms(), GradientDormancy(), PolicyCollapse())
    pairs = [made(files, tmp_path / f"{len(probes)}.h5", *probes).missing for probes in (alone, company)]
    prices = estimate([*pairs[0], *pairs[1]])
    totals = [sum(prices.seconds[each] for each in items) for items in pairs]
    assert totals[0] == pytest.approx(totals[1])


def test_a_comparison_of_sets_is_paid_for_by_set_and_one_set_is_none(files: tuple[Path, Path], tmp_path: Path) -> None:
    second = write_observations(tmp_path / "second.h5", samples=120)
    series, probe = open_series([files[0]]), Primacy(steps=50, batch=32, draws=1)
    prices = []
    for paths in ([files[1]], [files[1], second]):
        made = plan(series, [open_observations(path) for path in paths], tmp_path / f"{len(paths)}.h5", [probe])
        list(made.measure())
        price = estimate(made.examinations)
        prices.append(price.seconds[made.examinations[0]])
    assert prices[1] > 2 * prices[0]


def test_there_is_no_price_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing to price"):
        estimate([])


def test_shared_work_is_the_most_that_one_needs_of_each_unit() -> None:
    assert joined([{"forward": 5}, {"forward": 3, "backward": 2}, {}]) == {"forward": 5, "backward": 2}


def test_a_control_is_priced_once_and_progress_adds_up(files: tuple[Path, Path], tmp_path: Path) -> None:
    probe = Fitting(steps=7, batch=32, draws=2)
    made = planned(files, tmp_path / "a.h5", probe)
    price = estimate(made.missing)
    assert sorted(priced(price)) == [(probe, 0, False), (probe, 0, True), (probe, 100, False), (probe, 200, False)]
    assert sum(price.passes_of(each) for each in made.examine()) == pytest.approx(price.passes)
    assert price.passes_of(ProbeItem(Declared(), made.examinations[0].item)) == 0


def test_the_lines_name_probes_their_times_and_the_control(files: tuple[Path, Path], tmp_path: Path) -> None:
    made = planned(files, tmp_path / "a.h5", Fitting(steps=1, draws=1), LayerNorms(), GradientDormancy(), Drift())
    found = estimate(made.missing)
    each_takes = {"fitting": 90.0, "layer-norms": 20.0, "gradient-dormancy": 20.0, "drift": 0.1}
    slow = Price({each: each_takes[each.probe.name] for each in found.seconds}, 0.001)
    assert list(slow.lines()) == [
        "Probes that cost more than the forward pass: about 8.0 min, estimated on this network.",
        "  fitting: 4.5 min (3 x 1.5 min)",
        "  layer-norms, gradient-dormancy in one pass: 2.0 min (3 x 40 s)",
        "  fitting, fresh control: 1.5 min",
        "  drift: under 1 s (3 x under 1 s)",
    ]


def test_every_costly_probe_declares_work_that_has_a_price(files: tuple[Path, Path], tmp_path: Path) -> None:
    made = planned(files, tmp_path / "a.h5", *choose_probes(["costly"]))
    assert {each.probe.name for each in made.missing} == {n for n, cls in registry().items() if cls.cost == "costly"}
    subject = subject_of(made.examinations[0].item)
    clock = Clock(subject)
    units = {unit for each in made.examinations for unit in each.probe.work(subject)}
    assert {"forward", "backward", "single", "algebra"} < units and all(clock.seconds(unit) >= 0 for unit in units)


def test_declared_work_follows_the_parameters(files: tuple[Path, Path], tmp_path: Path) -> None:
    measured = unmeasured(files, tmp_path / "a.h5")
    list(measured.measure())
    subject = subject_of(measured.items[0])
    assert Fitting(steps=10, batch=50, draws=3, precision="float32").work(subject) == {
        "step in float32": 2 * 3 * 10 * 50,
        "forward": (4 * 6 + 3) * 100,
    }
    assert Injection(steps=10, batch=500, precision="bfloat16").work(subject)["step in bfloat16"] == 2 * 5 * 10 * 100
    assert Pruning(thresholds=(0.0, 0.1), draws=1).work(subject) == {"forward": (1 + 2 * 2 * 3) * 100}
    assert GradientDormancy().work(subject) == {"forward": 100, "backward": 100}
    assert LayerNorms(losses="each").work(subject) == {"forward": 100, "backward": 200}
