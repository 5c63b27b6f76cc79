"""The pass of a pair: each network once for all probes, the findings of a pass of their own, inputs of each its own."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.examination import pieces
from probe.observations import open_observations
from probe.pairs import PairObserver, pair_observed, share_pair
from probe.probes.base import Findings, Probe
from probe.probes.churn import Churn, ChurnObserver
from probe.probes.drift import Drift
from probe.probes.representation_shift import LikenessObserver, RepresentationShift
from tests.probe.series import write_observations, write_series
from tests.probe.subjects import MemorySubject
from tests.probe.test_one_pass import Batched, Bounded, Files, Recurrent, files, rows

__all__ = ["files"]
READING: tuple[Churn | RepresentationShift, ...] = (Churn(), RepresentationShift())
OBSERVATIONS = torch.randn(90, 4, generator=torch.Generator().manual_seed(5))


class Scaled(Batched):
    """Prepares observations in a way of its own."""

    def batches(self, batch_size: int | None = None, samples: int | None = None) -> Iterator[Tensor]:
        yield from (2 * each for each in super().batches(batch_size, samples))


def pair(kind: type[nn.Module] = Bounded, scaled: bool = False) -> tuple[MemorySubject, MemorySubject]:
    torch.manual_seed(1)
    first, second = kind(), kind()
    return (Scaled if scaled else Batched)(first, OBSERVATIONS), Batched(second, OBSERVATIONS)


def numbers(found: Findings) -> list[tuple[str, ...]]:
    return [(each.layer, each.module, repr(each.reading)) for each in found.readings]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", [Bounded, Recurrent])
def test_a_probe_finds_in_company_what_it_finds_alone(kind: type[nn.Module], scaled: bool) -> None:
    together = pair(kind, scaled)
    share_pair(*together, READING)
    for probe in READING:
        found = numbers(probe.measure_pair(*together))
        assert found == numbers(probe.measure_pair(*pair(kind, scaled))) and found


def test_outputs_are_compared_on_one_input_and_features_each_on_its_own() -> None:
    torch.manual_seed(1)
    network = Bounded()
    subjects = Scaled(network, OBSERVATIONS), Batched(network, OBSERVATIONS)
    share_pair(*subjects, READING)
    assert {each.reading.value for each in READING[0].measure_pair(*subjects).readings} == {0.0}
    likeness = {each.reading.value for each in READING[1].measure_pair(*subjects).readings}
    assert all(each is not None and each < 0.999 for each in likeness)


def passes_of(probes: tuple[Churn | RepresentationShift, ...], scaled: bool = False) -> list[int]:
    subjects, counted = pair(scaled=scaled), Counter[int]()
    for index, subject in enumerate(subjects):
        subject._network.register_forward_hook(lambda _, given, __, index=index: counted.update({index: len(given[0])}))
    share_pair(*subjects, probes)
    for probe in probes:
        probe.measure_pair(*subjects)
    return [counted[0], counted[1]]


def test_each_network_runs_once_for_all_and_again_only_where_inputs_differ() -> None:
    assert passes_of(READING) == passes_of(READING[:1]) == passes_of(READING[1:]) == [90, 90]
    assert passes_of(READING, scaled=True) == [180, 90]
    assert passes_of(READING[:1], scaled=True) == [90, 90]


def test_another_earlier_checkpoint_is_another_pass() -> None:
    first, later = pair()
    other = Batched(Bounded(), OBSERVATIONS)
    seen = pair_observed(first, later, READING[0], ChurnObserver)
    assert pair_observed(first, later, READING[0], ChurnObserver) is seen
    assert pair_observed(other, later, READING[0], ChurnObserver) is not seen


def test_nobody_gets_another_kind_of_observer() -> None:
    with pytest.raises(TypeError, match="ChurnObserver observes the pair, a LikenessObserver was expected"):
        pair_observed(*pair(), READING[0], LikenessObserver)
    assert not PairObserver.reads_outputs and not PairObserver.layers


def test_probes_of_one_pair_are_one_piece_and_those_of_other_pairs_another(tmp_path: Path) -> None:
    run, data = write_series(tmp_path / "run"), write_observations(tmp_path / "o.h5", samples=60)
    probes: list[Probe] = [*READING, Drift()]
    planned = plan(open_series([run]), [open_observations(data)], tmp_path / "a.h5", probes)
    found = {
        (each[0].earlier.step if each[0].earlier else -1, each[0].checkpoint.step, tuple(i.probe.name for i in each))
        for each in pieces(planned.examinations)
    }
    pairs = [(0, 100), (0, 200), (100, 200)]
    both = ("churn", "representation-shift")
    assert found == {(*steps, names) for steps in pairs for names in (both, ("drift",))}


def test_an_analysis_runs_each_network_of_a_pair_once_and_finds_what_one_probe_at_a_time_does(files: Files) -> None:
    with files.analyze("both.h5", READING) as both:
        assert files.forward == {0: 120, 100: 120}  # the statistics' pass, and the pair's
        with files.analyze("apart.h5", READING[:1]) as apart:
            assert files.forward == {0: 120, 100: 120}
            assert rows(apart) < rows(both)
        with files.analyze("apart.h5", READING) as again:
            assert files.forward == {0: 60, 100: 60} and rows(again) == rows(both)
    with files.analyze("two.h5", READING, workers=2) as two:
        assert rows(two) == rows(both)
