"""Runs to fork: tiny CartPole runs with a kept state, and what is in their folders."""

import hashlib
from pathlib import Path

from probe.trainers.detect.design import ArmSettings, Design
from probe.trainers.detect.fork import Agent, Fork, open_fork
from probe.trainers.detect.placement import Module, place
from tests.trainers.runs import CARTPOLE, DQN, record, train

SETTINGS = ArmSettings(budget=64, fit_steps=4, fit_batch=16, samples=48)


def run(folder: Path, toml: str = DQN, method: str = "baseline", *settings: str) -> Path:
    """Trains a tiny run that keeps the state of step 64 for good, and has checkpoints at 64 and 128 or later."""
    path = folder / "runs" / method / "seed0"
    kept = ("state.keep=[64]", *settings)
    train(path, record(*kept, toml=toml, folder=folder, method=method))
    return path


def ppo(folder: Path) -> Path:
    return run(folder, CARTPOLE.replace("every = 128", "every = 64"))


def design(fork: Fork, module: Module | None = None, layer: str | None = None) -> Design:
    return Design(place(fork.specification, module, layer), fork.source, SETTINGS)


def agent_at(path: Path, step: int = 64, module: Module | None = None, seed: int = 0) -> tuple[Agent, Design]:
    fork = open_fork(path, step)
    made = design(fork, module)
    return fork.agent(made, seed), made


def contents(path: Path) -> dict[str, tuple[str, int]]:
    """Returns the SHA-256 and the time of the last change of every file below a folder."""
    return {
        str(file.relative_to(path)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
