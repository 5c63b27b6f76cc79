"""Finding a network's tensors in what training scripts save, and saying why they do not fit."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from probe.checkpoints import Hints, open_checkpoint
from probe.checkpoints.fitting import load_tensors
from probe.checkpoints.pickles import load_pickle
from probe.checkpoints.state_dicts import read_state_dicts
from probe.errors import FileError
from tests.probe.checkpoints.agents import MlpAgent, Plain, drawn

PLAIN = "tests.probe.checkpoints.agents:Plain"


def network() -> nn.Module:
    return drawn(Plain, 0)


def prefixed(prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": tensor for name, tensor in network().state_dict().items()}


def optimiser() -> dict[str, Any]:
    made = torch.optim.Adam(network().parameters())
    return made.state_dict()


SAVED: dict[str, Any] = {
    "bare": lambda: network().state_dict(),
    "nested": lambda: {"model_state_dict": network().state_dict(), "optimizer_state_dict": optimiser(), "step": 5},
    "deeper": lambda: {"trainer": {"agent": {"network": network().state_dict()}}, "optimizer": optimiser()},
    "Lightning": lambda: {"state_dict": prefixed("net."), "pytorch-lightning_version": "2.6", "global_step": 5},
    "torch.compile": lambda: prefixed("_orig_mod."),
    "DataParallel": lambda: {"state_dict": prefixed("module.")},
    "both": lambda: prefixed("module._orig_mod."),
    "a target beside it": lambda: {"q_network": network().state_dict(), "target_network": prefixed("")},
    "a part of an agent": lambda: {**prefixed("q."), **{f"other.{n}": t for n, t in prefixed("").items()}},
    "a tuple of two": lambda: (network().state_dict(), drawn(MlpAgent, 1).state_dict()),
    "numbers of NumPy": lambda: {"model": network().state_dict(), "reward": np.float64(1.5), "step": np.int64(5)},
    "arguments": lambda: {"model": network().state_dict(), "args": argparse.Namespace(seed=1)},
    "bfloat16": lambda: {name: tensor.bfloat16() for name, tensor in network().state_dict().items()},
}


@pytest.mark.parametrize("case", SAVED)
def test_the_network_is_found_wherever_it_was_put(tmp_path: Path, case: str) -> None:
    torch.save(SAVED[case](), tmp_path / "step_5.pt")
    checkpoint = open_checkpoint(tmp_path / "step_5.pt", Hints(model=PLAIN))
    assert checkpoint.step == 5
    tolerance = 0.01 if case == "bfloat16" else 0.0
    for name, tensor in checkpoint.network().state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.allclose(tensor, network().state_dict()[name], atol=tolerance, rtol=tolerance)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    torch.save(SAVED["a target beside it"](), tmp_path / "step_5.pt")
    assert open_checkpoint(tmp_path / "step_5.pt", Hints(model=PLAIN)).notes() == ("left out: target_network",)


def test_several_networks_are_one_under_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "step_5.pt"
    torch.save({"actor": {"0.weight": torch.ones(2, 4)}, "critic": {"0.weight": torch.ones(1, 4)}}, path)
    content = read_state_dicts(path, load_pickle(path), "state-dict")
    assert set(content.tensors) == {"actor.0.weight", "critic.0.weight"}


def test_a_lightning_modules_own_hyperparameters_make_it(tmp_path: Path) -> None:
    saved = {
        "state_dict": drawn(Plain, 0, hidden=24).state_dict(),
        "pytorch-lightning_version": "2.6",
        "hyper_parameters": {"hidden": 24, "lr": 0.1},
        "global_step": 5,
    }
    torch.save(saved, tmp_path / "a.ckpt")
    checkpoint = open_checkpoint(tmp_path / "a.ckpt", Hints(model=PLAIN))
    assert checkpoint.network().get_parameter("fc2.weight").shape == (24, 24)
    assert checkpoint.description["format"] == "lightning" and "optimiser steps" in checkpoint.notes()[0]


def test_no_tensors_at_all_is_said(tmp_path: Path) -> None:
    torch.save({"step": 5, "optimizer": optimiser()}, tmp_path / "a.pt")
    with pytest.raises(FileError, match="holds no state_dict"):
        open_checkpoint(tmp_path / "a.pt")


def changed(**arguments: Any) -> dict[str, Any]:
    return dict(drawn(Plain, 0, **arguments).state_dict())


MISMATCHES = {
    "other observations": (
        changed(features=6),
        "misshapen: fc1.weight (16, 6) in the file",
        "likely other observations",
    ),
    "other actions": (changed(actions=9), "misshapen: fc3.weight (9, 16)", "another number of actions"),
    "another width": (changed(hidden=8), "misshapen: fc1.weight", "likely another width"),
    "a layer less": (
        {name: each for name, each in changed().items() if "fc3" not in name},
        "missing: fc3.weight, fc3.bias",
        "likely larger than the one that was saved",
    ),
    "a layer more": (
        {**changed(), "fc4.weight": torch.zeros(2, 2)},
        "unexpected: fc4.weight",
        "holds more than this network",
    ),
    "other names": (
        {name.replace("fc", "dense"): each for name, each in changed().items()},
        "unexpected: dense1.weight",
        "the same network, with its layers named otherwise",
    ),
    "no biases": (
        {name: each for name, each in changed().items() if "bias" not in name},
        "missing: fc1.bias",
        "have biases",
    ),
    "spectral normalisation": (
        {name.replace("fc1.weight", "fc1.weight_orig"): each for name, each in changed().items()},
        "unexpected: fc1.weight_orig",
        "Spectral or weight normalisation",
    ),
    "another network": (dict(drawn(MlpAgent, 0).state_dict()), "missing: fc1.weight", "another network"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_mismatch_lists_names_and_the_likeliest_cause(tmp_path: Path, case: str) -> None:
    tensors, listed, cause = MISMATCHES[case]
    with pytest.raises(FileError) as raised:
        load_tensors(network(), tensors, tmp_path / "a.pt", "net:Plain")
    message = str(raised.value)
    assert listed in message and cause in message and message.count("\n") == 1
