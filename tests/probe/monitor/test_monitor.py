"""The Monitor: the same analysis as from checkpoints, and a training that does not notice."""

import atexit
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe import open_observations
from probe.analysis import analyze
from probe.checkpoints.native import CheckpointMetadata, checkpoint_name, save
from probe.errors import ConfigurationError, FileError, ShapeError
from probe.fresh import random_network
from probe.module_guess import guess_modules
from probe.monitor import Monitor
from probe.monitor.live import LiveCheckpoint
from probe.networks import build
from probe.results import Analysis, open_analysis
from tests.probe.series import ENVIRONMENT, SPEC, write_observations

PROBES = ("default", "churn", "spectral-norm", "gradient-dormancy", "saturation")
MODULES = {name: (f"{name}.*",) for name in ("encoder", "actor", "critic")}


class Careless(nn.Module):
    """All that a careless measurement would change: batch statistics, dropout, forwards that draw."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x)
        return output + torch.randn(output.shape) * np.random.random()


@pytest.fixture(scope="module")
def observations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observations(tmp_path_factory.mktemp("data") / "o.h5", samples=200)


def vectors(rows: int = 40, columns: int = 4) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def trained(watch: Callable[[nn.Module], Callable[[int], object]]) -> dict[str, Any]:
    """Trains on noise and returns everything that a training consists of, global streams included."""
    torch.manual_seed(0)
    np.random.seed(0)
    network = Careless()
    network.get_submodule("body.1").eval()  # as fine-tuning has it: modes are mixed
    step_taken = watch(network)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(13):
        network(torch.randn(16, 4)).square().mean().backward()
        step_taken(step)  # between the gradient and its use
        optimizer.step()
        network.train(step % 2 == 0)
    moments = [entry for each in optimizer.state_dict()["state"].values() for entry in each.values()]
    return {
        **network.state_dict(),
        **{f"gradient {name}": each.grad for name, each in network.named_parameters()},
        **{f"moment {index}": moment for index, moment in enumerate(moments)},
        **{f"mode {name}": torch.tensor(module.training) for name, module in network.named_modules()},
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.random.get_state()[1].copy()),  # type: ignore[index, union-attr]
        "numpy position": torch.tensor(np.random.get_state()[2]),  # type: ignore[index]
    }


def test_training_is_bit_for_bit_what_it_is_without_a_monitor(tmp_path: Path) -> None:
    def watched(network: nn.Module) -> Callable[[int], object]:
        return Monitor(network, vectors(), PROBES, out=tmp_path / "a.h5", every=4).step

    alone, monitored = trained(lambda network: lambda step: None), trained(watched)
    assert alone.keys() == monitored.keys() and len(alone) > 20
    assert [name for name in alone if not torch.equal(alone[name], monitored[name])] == []
    assert not torch.equal(alone["torch"], torch.Generator().manual_seed(0).get_state())  # the streams were drawn from


def by_place(analysis: Analysis) -> dict[tuple[Any, ...], tuple[Any, str]]:
    """Returns values and statuses by all that does not name the checkpoint's file."""
    left_out = {"checkpoint", "value", "status"}
    return {
        tuple(str(value) for name, value in vars(row).items() if name not in left_out): (
            pytest.approx(row.value, rel=1e-9, nan_ok=True),
            row.status,
        )
        for row in analysis.row_list()
    }


def write_checkpoint(network: nn.Module, folder: Path, step: int) -> None:
    metadata = CheckpointMetadata(
        step=step,
        frames=step,
        updates=step,
        algorithm="ppo",
        network=SPEC,
        environment=ENVIRONMENT.model_dump(mode="json"),
        acting={},
        run="cart",
        method="baseline",
        seed=3,
        task=0,
        versions={},
    )
    save(folder / checkpoint_name(step), network, metadata)


def test_the_analysis_is_that_of_checkpoints_of_the_same_networks(observations: Path, tmp_path: Path) -> None:
    network = build(SPEC, torch.Generator().manual_seed(1)).train()
    rows = torch.cat(list(open_observations(observations).batches(64)))
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    identity: dict[str, Any] = {"run": "cart", "method": "baseline", "seed": 3}
    with Monitor(network, observations, PROBES, out=tmp_path / "live.h5", modules=MODULES, **identity) as monitor:
        for step in (0, 10, 20):
            write_checkpoint(network, tmp_path / "checkpoints", step)
            monitor.measure(step)
            network(rows)["actor"].square().mean().backward()
            optimizer.step()
    with (
        analyze(tmp_path / "checkpoints", observations, tmp_path / "saved.h5", PROBES) as saved,
        open_analysis(tmp_path / "live.h5") as live,
    ):
        assert {row.probe for row in saved.row_list()} > {"dormancy", "rank", "churn", "gradient-dormancy"}
        assert by_place(live) == by_place(saved)
        assert [each["label"] for each in live.layers] == [each["label"] for each in saved.layers]
        assert live.verify()


def test_it_measures_at_the_first_call_and_once_in_every_interval(tmp_path: Path) -> None:
    with Monitor(small(), vectors(), ["fau"], out=tmp_path / "a.h5", every=100) as monitor:
        assert [step for step in range(7, 600, 64) if monitor.step(step) is not None] == [7, 135, 263, 327, 455, 519]


def test_an_interrupted_training_is_continued_as_one_series(tmp_path: Path) -> None:
    network, out = small(), tmp_path / "a.h5"
    for steps, end in (((0, 1), "killed"), ((2,), "closed"), ((3,), "closed")):
        monitor = Monitor(network, vectors(), out=out)
        for step in steps:
            with torch.no_grad():
                network.get_submodule("0").get_parameter("bias")[step] = -1e6
            monitor.measure(step)
        if end == "closed":
            monitor.close()
    with open_analysis(out) as analysis:
        overlap = analysis.select(probe="dormancy", metric="dormant_overlap", layer="1", threshold=0.0)
        pairs = set(zip(overlap["step"].tolist(), overlap["reference_step"].tolist(), strict=True))
        dead = analysis.select(metric="dead_fraction", layer="1")
        assert pairs == {(1, 0), (2, 0), (2, 1), (3, 0), (3, 2)}
        assert dict(zip(dead["step"].tolist(), dead["value"].tolist(), strict=True)) == {
            0: 1 / 8,
            1: 2 / 8,
            2: 3 / 8,
            3: 4 / 8,
        }


def test_a_training_that_goes_on_from_before_its_last_measurement_is_measured_after_it(tmp_path: Path) -> None:
    with Monitor(small(), vectors(), ["fau"], out=tmp_path / "a.h5", every=10) as killed:
        assert [step for step in range(0, 25, 5) if killed.step(step)] == [0, 10, 20]
    with Monitor(small(), vectors(), ["fau"], out=tmp_path / "a.h5", every=10) as resumed:
        assert [step for step in range(15, 45, 5) if resumed.step(step)] == [30, 40]


def test_a_training_that_starts_anew_is_not_mixed_into_the_series(tmp_path: Path) -> None:
    with Monitor(small(), vectors(), ["fau"], out=tmp_path / "a.h5") as monitor:
        monitor.step(0)
        monitor.step(7)
        with pytest.raises(ConfigurationError, match="Step 3 comes after step 7"):
            monitor.step(3)
    with pytest.raises(ConfigurationError, match="Step 0 comes after step 0"):
        Monitor(small(), vectors(), ["fau"], out=tmp_path / "a.h5").step(0)


def test_a_probe_that_compares_networks_says_that_those_of_a_killed_process_are_gone(tmp_path: Path) -> None:
    killed = Monitor(small(), vectors(), ["churn"], out=tmp_path / "a.h5")
    killed.measure(0)
    atexit.unregister(killed.close)
    with pytest.raises(ConfigurationError, match="the network of step 0 is gone"):
        Monitor(small(), vectors(), ["churn"], out=tmp_path / "a.h5").measure(1)


def test_series_of_several_seeds_go_into_one_file(tmp_path: Path) -> None:
    for seed in (0, 1):
        with Monitor(small(), vectors(), ["fau"], out=tmp_path / "a.h5", seed=seed, run="r", method="m") as monitor:
            monitor.measure(5)
    assert open_analysis(tmp_path / "a.h5").series() == [("r", "m", 0), ("r", "m", 1)]


class Critic(nn.Module):
    """A network of several inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(5, 6)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        return torch.relu(self.dense(torch.cat([state, action], dim=1)))


@pytest.mark.parametrize("form", ["tuple", "mapping", "forward"])
def test_a_network_of_several_inputs_gets_them_in_the_form_that_was_given(form: str, tmp_path: Path) -> None:
    critic, state, action = Critic(), vectors(70, 3), vectors(70, 2)
    given: dict[str, Any] = {
        "tuple": {"observations": (state, action.numpy())},
        "mapping": {"observations": {"action": action, "state": state}},
        "forward": {
            "observations": torch.cat([state, action], dim=1),
            "forward": lambda network, both: network(both[:, :3], both[:, 3:]),
        },
    }[form]
    with Monitor(critic, probes=["activity"], out=tmp_path / "a.h5", modules={"critic": ("*",)}, **given) as monitor:
        monitor.measure(0)
    with open_analysis(tmp_path / "a.h5") as analysis:
        (layer,) = analysis.layers
        rates = analysis.array(layer["checkpoint"], layer["data"], ":relu", "activation_rate")
        assert (layer["layer"], layer["module"], layer["samples"]) == (":relu", "critic", 70)
        assert rates == pytest.approx((critic(state, action) > 0).double().mean(0).numpy())


@pytest.mark.parametrize(
    "name", ["churn", "drift", "pruning", "saturation", "redundancy", "signal", "value", "primacy"]
)
def test_probes_beyond_the_forward_pass_take_a_network_of_several_inputs(name: str, tmp_path: Path) -> None:
    with Monitor(Critic(), (vectors(60, 3), vectors(60, 2)), [name], out=tmp_path / "a.h5") as monitor:
        monitor.measure(0)
        monitor.measure(1)
    assert {row.probe for row in open_analysis(tmp_path / "a.h5").row_list()} == {name}


def test_the_scalars_are_those_of_the_trainers_own_log(observations: Path, tmp_path: Path) -> None:
    from probe.trainers import diagnostics

    network = build(SPEC, torch.Generator().manual_seed(0))
    rows = torch.cat(list(open_observations(observations).batches(64)))
    monitor = Monitor(network, observations, ["fau"], out=tmp_path / "a.h5", modules=MODULES)
    expected = diagnostics.measure(network, rows)
    found = monitor.measure(0)
    monitor.close()
    assert found and found == {name: expected[name] for name in found}


def test_a_fresh_control_is_drawn_anew_and_runs_in_the_monitors_way(tmp_path: Path) -> None:
    network = small()
    run = lambda network, batch: network(2 * batch)  # noqa: E731
    facts = {"run": "r", "method": "", "seed": 0, "task": 0, "step": 0}
    live = LiveCheckpoint.taken(network, run, facts, guess_modules([]), tmp_path)
    fresh, again = random_network(live, 3), random_network(live, 3)
    assert fresh is not None and again is not None
    assert torch.equal(fresh(vectors()), again(vectors())) and not torch.equal(fresh(vectors()), network(2 * vectors()))
    network.load_state_dict(fresh.state_dict())
    assert torch.equal(fresh(vectors()), network(2 * vectors()))


def test_a_copy_runs_no_hooks_of_others(tmp_path: Path) -> None:
    network, heard = small(), []
    network.register_forward_hook(lambda *_: heard.append(0))
    network.get_submodule("1").register_forward_pre_hook(lambda *_: heard.append(1))
    nn.utils.spectral_norm(network.get_submodule("0"))
    with Monitor(network, vectors(), ["fau"], out=tmp_path / "a.h5") as monitor:
        assert monitor.measure(0)
    assert heard == []


def test_a_buffer_that_is_filled_anew_changes_nothing(tmp_path: Path) -> None:
    rows = vectors()
    monitor = Monitor(small(), rows, ["fau"], out=tmp_path / "a.h5")
    first = monitor.measure(0)
    rows.zero_()
    assert monitor.measure(1) == first
    monitor.close()


def test_a_forward_under_autocast_or_without_gradients_is_measured_in_full_precision(tmp_path: Path) -> None:
    monitor = Monitor(small(), vectors(), ["default", "gradient-dormancy"], out=tmp_path / "a.h5")
    first = monitor.measure(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert monitor.measure(1) == first
    with torch.inference_mode():
        assert monitor.measure(2) == first
    monitor.close()


def test_bfloat16_weights_are_measured_as_they_compute(tmp_path: Path) -> None:
    network, rows = small().bfloat16(), vectors().bfloat16()
    with Monitor(network, rows, ["activity"], out=tmp_path / "a.h5") as monitor:
        monitor.measure(0)
    hidden = torch.relu(network.get_submodule("0")(rows))
    with open_analysis(tmp_path / "a.h5") as analysis:
        (layer,) = analysis.layers
        mean = analysis.array(layer["checkpoint"], layer["data"], "1", "mean")
        assert mean == pytest.approx(hidden.double().mean(0).detach().numpy(), rel=1e-5)


def test_tensors_with_a_history_that_a_network_keeps_do_not_matter(tmp_path: Path) -> None:
    network = small()
    network.kept = network(vectors())  # type: ignore[assignment]
    nn.utils.weight_norm(network.get_submodule("0"))
    with Monitor(network, vectors(), ["fau"], out=tmp_path / "a.h5") as monitor:
        assert monitor.measure(0)
    assert isinstance(network.kept, Tensor) and network.kept.grad_fn is not None


@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_network_is_measured_as_it_was_written(whole: bool, tmp_path: Path) -> None:
    network = small()
    expected = Monitor(network, vectors(), ["fau"], out=tmp_path / "a.h5").measure(0)
    if whole:
        compiled = torch.compile(network, backend="eager")
    else:
        compiled = nn.Sequential(torch.compile(network[0], backend="eager"), *network[1:])  # type: ignore[index]
    compiled(vectors())
    with Monitor(compiled, vectors(), ["fau"], out=tmp_path / "b.h5") as monitor:
        assert monitor.measure(0) == expected
    with open_analysis(tmp_path / "b.h5") as analysis:
        assert [each["layer"] for each in analysis.layers] == ["1"]


def test_what_is_at_fault_is_named(tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    with pytest.raises(ConfigurationError, match="every is 0"):
        Monitor(small(), vectors(), every=0, out=out)
    with pytest.raises(ShapeError, match="'0': 40, '1': 39"):
        Monitor(small(), (vectors(), vectors(39)), out=out)
    with pytest.raises(ConfigurationError, match="No nonlinearity was seen in Linear"):
        Monitor(nn.Linear(4, 2), vectors(), out=out).measure(0)
    (tmp_path / "text.h5").write_text("no analysis")
    with pytest.raises(FileError):
        Monitor(small(), vectors(), out=tmp_path / "text.h5")
    monitor = Monitor(small(), vectors(), ["fau"], out=out)
    monitor.measure(5)
    with pytest.raises(ConfigurationError, match="Step 5 comes after step 5"):
        monitor.measure(5)
    monitor.close()


def test_a_network_that_cannot_be_copied_is_named(tmp_path: Path) -> None:
    network = small()
    network.lock = Lock()  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="Sequential cannot be copied"):
        Monitor(network, vectors(), out=tmp_path / "a.h5").measure(0)
