"""`probe analyze`, `probe inspect` and `probe list formats` on checkpoints of other libraries."""

import json
from pathlib import Path

import h5py
import pytest
import torch

from probe.observations import open_observations
from tests.commands.invoke import Invoke
from tests.probe.checkpoints.agents import MlpAgent, drawn
from tests.probe.checkpoints.outputs import hooked
from tests.probe.series import write_observations

AGENTS = "tests.probe.checkpoints.agents"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observations(tmp_path_factory.mktemp("data") / "o.h5", samples=200)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "CartPole-v1__ppo__1__1700000000"
    folder.mkdir()
    for seed, step in enumerate((0, 500, 1000, 1500, 2000)):
        torch.save(drawn(MlpAgent, seed).state_dict(), folder / f"ppo_{step}.cleanrl_model")
    return folder


@pytest.mark.parametrize("model", [(), ("--model", f"{AGENTS}:MlpAgent")])
def test_rows_are_what_hooks_on_the_agent_give(
    probe: Invoke, series: Path, data: Path, tmp_path: Path, model: tuple[str, ...]
) -> None:
    outcome = probe("analyze", series, "--data", data, "--out", tmp_path / "a.h5", "--workers", 1, *model)
    assert outcome.code == 0, outcome.error
    assert "CartPole-v1 / ppo / seed 1" in outcome.out
    assert ("activation is taken to be tanh" in outcome.error.replace("\n", " ")) == (not model)
    batch = next(open_observations(data).batches(200))
    with h5py.File(tmp_path / "a.h5") as file:
        rows = file["rows"]
        for seed, step in enumerate((0, 500, 1000, 1500, 2000)):
            network = drawn(MlpAgent, seed)
            for layer, output in hooked(network, lambda network=network: network.get_action_and_value(batch)).items():
                at = (rows["step"][:] == step) & (rows["layer"][:] == layer.encode())
                at &= (rows["metric"][:] == b"dormant_fraction") & (abs(rows["threshold"][:] - 0.1) < 1e-9)
                scores = output.abs().double().mean(0)
                wanted = (scores <= 0.1 * scores.mean()).double().mean().item()
                assert rows["value"][:][at].tolist() == [pytest.approx(wanted, abs=1e-9)]
                assert rows["module"][:][at].tolist() == [layer.split(".")[0].encode()]


def test_a_second_run_measures_nothing_and_another_network_takes_another_file(
    probe: Invoke, series: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ("analyze", series, "--data", data, "--out")
    probe(*arguments, tmp_path / "a.h5")
    assert "Nothing new to measure" in probe(*arguments, tmp_path / "a.h5").error
    refused = probe(*arguments, tmp_path / "a.h5", "--model-args", "activation=relu")
    assert refused.code == 2 and "as another network" in refused.error and "Give another --out." in refused.error
    assert "5/5 checkpoints" in probe(*arguments, tmp_path / "b.h5", "--model-args", "activation=relu").error


def test_modules_are_overridden(probe: Invoke, series: Path) -> None:
    path = series / "ppo_500.cleanrl_model"
    for options, found in (((), "actor: 2 tanh; critic: 2 tanh"), (("--module", "encoder=actor*"), "encoder: 2 tanh")):
        facts = json.loads(probe("inspect", path, *options, "--json").out)["facts"]
        assert found in facts["nonlinearities"] and facts["step"] == 500


def test_a_module_that_matches_nothing_is_refused_by_inspect_too(probe: Invoke, series: Path) -> None:
    path = series / "ppo_500.cleanrl_model"
    outcome = probe("inspect", path, "--module", "critic=actor", "--module", "encoder=critc")
    assert outcome.code == 2 and "--module encoder=critc matches no layer." in outcome.error


def test_a_series_is_inspected(probe: Invoke, series: Path) -> None:
    outcome = probe("inspect", series, "--json")
    facts = json.loads(outcome.out)["facts"]
    assert outcome.code == 0 and facts["CartPole-v1 / ppo / seed 1"] == "5 checkpoints, steps 0 to 2,000"


def test_every_format_is_listed(probe: Invoke) -> None:
    names = {each["name"] for each in json.loads(probe("list", "formats", "--json").out)}
    assert {"native", "sb3", "state-dict", "lightning", "safetensors", "hub", "torchscript", "torch-export"} == names


BAD_INPUT = {
    "another model": (("--model", "torch.nn:Identity"), "does not fit torch.nn:Identity"),
    "other observations": (("--model", f"{AGENTS}:NatureAgent"), "cannot run on observations of (4,)"),
    "no model": (("--model", "net"), "not of the form package.module:factory"),
    "no pair": (("--module", "critic"), "--module 'critic' is not of the form NAME=VALUE"),
    "no such layer": (("--module", "critic=valeu*"), "--module critic=valeu* matches no layer. There are: actor.1,"),
    "no file": (("--obs-mean", "none.npy", "--obs-var", "none.npy"), "none.npy: cannot be read"),
    "no expression": (("--series-by", "("), "no regular expression"),
    "an argument without a model": (("--model-args", "hidden=3"), "Unknown argument"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_a_message_and_leaves_nothing(
    probe: Invoke, series: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    options, words = BAD_INPUT[case]
    monkeypatch.chdir(tmp_path)
    outcome = probe("analyze", series, "--data", data, "--out", "a.h5", *options)
    assert outcome.code == 2 and words in outcome.error and "Traceback" not in outcome.error
    assert not list(tmp_path.iterdir())
