"""Statistics, observers and gradients out of one pass: the numbers of passes of their own, and no second forward."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.analysis import plan
from probe.checkpoints import open_series
from probe.checkpoints.native import NativeCheckpoint
from probe.errors import ProbeError
from probe.networks import build, preset
from probe.observations import open_observations
from probe.passes import adopt, losses_of, make_pass, observers_of, share_pass
from probe.probes.base import Findings, Probe, registry
from probe.results import Analysis
from probe.statistics.collector import StatisticsCollector
from tests.probe.series import write_observations, write_series
from tests.probe.subjects import MemorySubject
from tests.probe.test_passes import SHARING, TELLING_APART, Bounded, values

ROWS, IMAGES, BATCH = 90, 24, 10


class Squashed(nn.Module):
    """A bounded action, whose tanh is called between the layers of the body and those of the value head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.action, self.value = nn.Linear(8, 2), nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        hidden = self.body(observations)
        action = torch.tanh(self.action(hidden))
        return {"actor": action, "critic": self.value(hidden)}


class Recurrent(nn.Module):
    """Several time steps an observation: its rows are not the observations'."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(1, 6), nn.ReLU())
        self.memory = nn.GRU(6, 5, batch_first=True)
        self.actor, self.critic = nn.Linear(5, 2), nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        states, _ = self.memory(self.encoder(observations[..., None]))
        return {"actor": self.actor(states[:, -1]), "critic": self.critic(states[:, -1])}


class Detour(nn.Module):
    """Its second layer of three runs for some batches only, not for the first."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.relu = nn.ModuleList([nn.ReLU() for _ in range(3)])

    def forward(self, observations: Tensor) -> Tensor:
        hidden: Tensor = self.relu[0](self.dense[0](observations))
        if bool((observations[:, 0] < 1).all()):
            hidden = hidden + self.relu[1](self.dense[1](hidden))
        last: Tensor = self.relu[2](self.dense[2](hidden))
        return last


def detour() -> nn.Module:
    network = Bounded()
    network.encoder = Detour()
    network.actor, network.critic = nn.Linear(4, 2), nn.Linear(4, 1)
    return network


class EverySecondBatch(nn.Module):
    """Its two-step layer gives as many rows as there are observations, but not batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.memory = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.GRU(2, 3, batch_first=True)
        self.actor, self.critic, self.runs = nn.Linear(4, 2), nn.Linear(4, 1), 0

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(observations)
        self.runs += 1
        if self.runs % 2:
            hidden = hidden + self.memory(hidden.view(-1, 2, 2))[0].sum()
        return {"actor": self.actor(hidden), "critic": self.critic(hidden)}


class Broken(Bounded):
    """Its second layer is NaN, of three."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*[each for _ in range(3) for each in (nn.Linear(4, 4), nn.ReLU())])
        self.encoder[2].weight.data.fill_(float("nan"))
        self.actor, self.critic = nn.Linear(4, 2), nn.Linear(4, 1)


def convolutions() -> nn.Module:
    return build(preset("conv64", (64, 64, 3), 2, 32), torch.Generator().manual_seed(0))


def impala() -> nn.Module:
    return build(preset("impala", (64, 64, 3), 2, 32), torch.Generator().manual_seed(0))


def normalised() -> nn.Module:
    network = Bounded()
    network.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, 8))
    return network


NETWORKS = (Bounded, Squashed, Recurrent, detour, Broken, convolutions, impala, normalised)


class Batched(MemorySubject):
    """Gives batches of ten."""

    def batches(self, batch_size: int | None = None, samples: int | None = None) -> Iterator[Tensor]:
        yield from super().batches(batch_size or BATCH, samples)


def subject_of(network: nn.Module, missing: int) -> Batched:
    """Rows of which some have no return: every fourth of the first `missing`."""
    rng = np.random.default_rng(3)
    images = any(isinstance(each, nn.Conv2d) for each in network.modules())
    shape = (IMAGES, 64, 64, 3) if images else (ROWS, 4)
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    returns = rng.normal(size=len(rows)).astype(np.float32)
    returns[:missing:4] = np.nan
    episodes = np.arange(len(rows)) * 7 // len(rows)
    columns = {"returns": returns, "actions": rng.integers(0, 2, len(rows)), "episodes": episodes}
    return Batched(network, rows, columns)


def measured(network: nn.Module, missing: int, probes: Any) -> tuple[Batched, StatisticsCollector]:
    """As `measure` does, without files."""
    subject, collector = subject_of(network, missing), StatisticsCollector()
    subject.statistics, subject.layers = {}, {}
    own = subject.network()
    shared, squashed = make_pass(subject, own, observers_of(subject, probes), losses_of(probes), collector)
    collector.drop(squashed)
    subject.statistics = collector.layers
    subject.layers = {
        key: {"function": each.function, "label": each.label, "path": each.path, "position": each.position}
        for key, each in collector.descriptions.items()
    }
    adopt(subject, shared)
    return subject, collector


@pytest.mark.parametrize("sharing", [SHARING, TELLING_APART], ids=["joint", "each"])
@pytest.mark.parametrize("missing", [0, 17])
@pytest.mark.parametrize("network", NETWORKS)
def test_one_pass_gives_the_same_bits_as_passes_of_their_own(
    network: Callable[[], nn.Module], missing: int, sharing: Sequence[Probe]
) -> None:
    torch.manual_seed(0)
    given = network().eval()
    together, shared = measured(given, missing, sharing)
    alone, bare = measured(given, missing, [])
    assert list(shared.layers) == list(bare.layers) and bare.layers
    for layer, statistics in bare.layers.items():
        found = shared.layers[layer].to_arrays()
        for name, array in statistics.to_arrays().items():
            np.testing.assert_array_equal(found[name], array, err_msg=f"{layer} {name}")
    share_pass(alone, sharing)
    for probe in sharing:
        assert numbers(probe.measure(together)) == numbers(probe.measure(alone)), probe.name


def numbers(findings: Findings) -> dict[Any, Any]:
    found = values(findings).items()
    return {key: (repr(each.reading.value), each.reading.status, each.samples) for key, each in found}


def test_a_squashed_output_and_what_is_not_finite_are_passed_over_by_those_who_watched_them() -> None:
    torch.manual_seed(0)
    redundancy = registry()["redundancy"]()
    found = {each.layer for each in redundancy.measure(measured(Squashed().eval(), 0, SHARING)[0]).readings}
    assert found == {"body.1", "body.3", "value.1"}
    subject, _ = measured(Broken().eval(), 0, SHARING)
    statuses = {
        each.layer: each.reading.status
        for each in redundancy.measure(subject).readings
        if each.reading.metric == "cka_previous"
    }
    assert statuses == {"encoder.1": "not_applicable", "encoder.3": "nonfinite", "encoder.5": "nonfinite"}


def test_a_layer_whose_rows_are_the_observations_by_chance_alone_is_not_compared() -> None:
    torch.manual_seed(0)
    subject = subject_of(EverySecondBatch(), 0)
    subject._rows = subject._rows[:80]  # an even number of batches
    subject.statistics, subject.layers, collector = {}, {}, StatisticsCollector()
    make_pass(subject, subject.network(), {}, (), collector)
    subject.statistics = collector.layers
    assert collector.layers["memory"].samples == len(subject._rows)
    readings = registry()["redundancy"]().measure(subject).readings
    assert {each.reading.status for each in readings if each.layer == "memory"} == {"not_applicable"}
    assert "ok" in {each.reading.status for each in readings if each.layer == "encoder.1"}


class Files:
    """Counts what goes forward through checkpoints of files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = write_series(folder / "run", (0, 100))
        self.data, self.folder = write_observations(folder / "o.h5", samples=60), folder
        self.forward: Counter[int] = Counter()
        original = NativeCheckpoint.network

        def network(checkpoint: NativeCheckpoint) -> nn.Module:
            made = original(checkpoint)
            made.register_forward_hook(lambda _, given, __: self.forward.update({checkpoint.step: len(given[0])}))
            return made

        monkeypatch.setattr(NativeCheckpoint, "network", network)

    def analyze(self, name: str, probes: Any, workers: int = 1) -> Analysis:
        planned = plan(open_series([self.run]), [open_observations(self.data)], self.folder / name, probes)
        self.forward.clear()
        self.measured = list(planned.measure(workers))
        self.examined = list(planned.examine(workers))
        return planned.assemble()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    made = Files(tmp_path, monkeypatch)
    with h5py.File(made.data, "r+") as file:
        file["returns"][...] = np.random.default_rng(0).normal(size=60)
    return made


def test_each_observation_goes_through_a_checkpoint_once_for_all_probes_of_the_pass(files: Files) -> None:
    default = [cls() for cls in registry().values() if cls.needs == "activation"]
    with files.analyze("one.h5", [*default, *SHARING]) as one:
        assert files.forward == {0: 60, 100: 60}
        assert len(files.measured) == 2 and files.examined == []
        with files.analyze("two.h5", default) as bare:
            assert files.forward == {0: 60, 100: 60}
            kept = rows(bare)
        assert kept <= rows(one)
        with files.analyze("two.h5", SHARING) as two:
            assert files.forward == {0: 60, 100: 60} and len(files.examined) == 2 * len(SHARING)
            assert rows(two) == rows(one)


def rows(analysis: Analysis) -> set[str]:
    return {repr(row) for row in analysis.row_list()}


def test_two_workers_give_the_same_rows(files: Files) -> None:
    with files.analyze("one.h5", SHARING) as one, files.analyze("two.h5", SHARING, workers=2) as two:
        assert rows(one) == rows(two)


def test_a_pass_that_ends_before_its_probes_are_written_leaves_them_to_the_next(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    saturation = next(each for each in SHARING if each.name == "saturation")

    def fails(probe: Probe, subject: object) -> Findings:
        raise ProbeError("stopped")

    with monkeypatch.context() as broken:
        broken.setattr(type(saturation), "measure", fails)
        with pytest.raises(ProbeError, match="stopped"):
            files.analyze("cut.h5", SHARING)
    with files.analyze("cut.h5", SHARING) as again, files.analyze("whole.h5", SHARING) as whole:
        assert rows(again) == rows(whole)
