"""PPO's steps per second against the bare network, and against CleanRL's loop, on real CoinRun.

CleanRL's loop is its own file where the environment variable CLEANRL gives a checkout, else a plain loop of its form.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from probe.datasets.environments import make
from probe.memory import keep_freed_memory
from probe.networks import build, preset
from probe.trainers.configuration import Configuration, load
from probe.trainers.mitigations import make_mitigation
from probe.trainers.ppo import Ppo
from probe.trainers.settings import PpoSettings
from tests.benchmarks.cleanrl.process import CHECKOUT, play_in_a_process
from tests.trainers.plain_ppo import PlainPpo

ROUNDS = 3
MICRO_BATCHES = (64, 128, 256, 512)
ROLLOUT_STEPS = 32
"""One minibatch of 2,048 a pass, instead of the eight of 256 steps."""
IMPALA = ("coinrun-cleanrl", f"ppo.rollout_steps={ROLLOUT_STEPS}")
CONV64 = ("coinrun",)
PRECISIONS = ("bfloat16", "float32")
AIMS: dict[str, dict[str, float]] = {"default": {"bfloat16": 4}, "kept": {"bfloat16": 1.6, "float32": 1.1}}
"""What the loop's allocator does with freed memory -> precision of ours -> how many times as fast it should be."""


def main() -> None:
    """Prints each ratio; every form runs in a process of its own, with or without the allocator's setting."""
    print(f"  {torch.get_num_threads()} threads (OMP_NUM_THREADS); a busy machine stalls more than one", flush=True)
    _against_the_bare_network("conv64, minibatch 64", CONV64, 0.75)
    _against_the_bare_network("IMPALA, minibatch 2048", IMPALA, 0.85)
    checkout = os.environ.get(CHECKOUT)
    _against_a_loop(None if checkout is None else Path(checkout))


def _against_a_loop(checkout: Path | None) -> None:
    """Prints the medians of rounds in which all forms take turns, as the machine's speed changes within minutes."""
    rounds = [{**_loops(checkout), **_trainers()} for _ in range(ROUNDS)]
    for allocator, targets in AIMS.items():
        speeds = [each[allocator] for each in rounds]
        name = "plain loop" if checkout is None else "CleanRL's own loop"
        print(f"  {name}, float32, IMPALA, freed memory {allocator}: {_spread(speeds, 0)} steps/s")
        for precision, target in targets.items():
            ratios = [each[precision] / each[allocator] for each in rounds]
            print(f"    ours in {precision}: {_spread(ratios, 2)} times that (target {target})", flush=True)


def _loops(checkout: Path | None) -> dict[str, float]:
    """Returns steps per second by what the allocator does."""
    return {
        allocator: (_in_a_process("plain", allocator) if checkout is None else _theirs(checkout, allocator))[0]
        for allocator in AIMS
    }


def _trainers() -> dict[str, float]:
    """Returns steps per second by precision."""
    return {precision: _in_a_process("alone", precision, *IMPALA)[0] for precision in PRECISIONS}


def _spread(numbers: Sequence[float], digits: int) -> str:
    return f"{median(numbers):.{digits}f} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def _against_the_bare_network(name: str, settings: tuple[str, ...], target: float) -> None:
    for precision in PRECISIONS:
        speed, bare = _in_a_process("ours", precision, *settings)
        print(
            f"  {name}, {precision}: {speed:.0f} steps/s, {speed / bare:.2f} of the bare network's {bare:.0f} "
            f"(target {target})",
            flush=True,
        )


def _in_a_process(*arguments: str) -> list[float]:
    command = [sys.executable, "-m", __name__, *arguments]
    measured: list[float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return measured


def _seconds(form: Callable[[], object]) -> float:
    start = time.perf_counter()
    form()
    return time.perf_counter() - start


def _ours(precision: str, name: str, *settings: str) -> list[float]:
    """Returns steps per second of PPO and of the bare network in its best micro-batch; the rounds alternate."""
    configuration, trainer = _trainer(precision, name, *settings)
    bare = {size: _seconds(partial(_bare, trainer, configuration, size)) for size in MICRO_BATCHES}
    best = min(bare, key=bare.__getitem__)
    rounds = [
        (_seconds(trainer.iterate), _seconds(partial(_bare, trainer, configuration, best))) for _ in range(ROUNDS)
    ]
    return [configuration.update_steps / median(seconds) for seconds in zip(*rounds, strict=True)]


def _alone(precision: str, name: str, *settings: str) -> list[float]:
    """Returns steps per second of PPO."""
    configuration, trainer = _trainer(precision, name, *settings)
    return [configuration.update_steps / median(_seconds(trainer.iterate) for _ in range(ROUNDS))]


def _trainer(precision: str, name: str, *settings: str) -> tuple[Configuration, Ppo]:
    """Returns PPO after its first update."""
    keep_freed_memory()
    configuration = load(name, settings)
    trainer = Ppo(configuration, make_mitigation("baseline", {}), 0, "cpu", precision)
    trainer.iterate()
    return configuration, trainer


def _bare(trainer: Ppo, configuration: Configuration, micro_batch: int) -> None:
    """Acts once on every observation and passes forward and backward as often as PPO does, and nothing else."""
    network, precision, settings = trainer.network, trainer.precision, configuration.table(PpoSettings)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        for observations in trainer.rollout.observations:
            network(observations)
    rows = trainer.rollout.observations.flatten(0, 1)
    for _ in range(settings.passes):
        for batch in torch.split(rows, min(micro_batch, settings.minibatch)):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                outputs = network(batch)
            (outputs["actor"].float().mean() + outputs["critic"].float().mean()).backward()


def _plain(allocator: str) -> list[float]:
    """Returns steps per second of PPO the usual way: float32, rows of NCHW, whole minibatches, an unfused Adam."""
    if allocator == "kept":
        keep_freed_memory()
    configuration = load(*IMPALA[:1], IMPALA[1:])
    loop = _PlainLoop(configuration)
    loop.play_and_learn()
    return [configuration.update_steps / median(_seconds(loop.play_and_learn) for _ in range(ROUNDS))]


def _theirs(checkout: Path, allocator: str) -> list[float]:
    """Returns steps per second of CleanRL's file, from the end of its first update to the end of its last."""
    steps = 64 * ROLLOUT_STEPS
    settings = {
        "env_id": "coinrun",
        "num_steps": ROLLOUT_STEPS,
        "num_minibatches": 1,
        "total_timesteps": (ROUNDS + 1) * steps,
        "seed": 1,
        "cuda": False,
    }
    ends = play_in_a_process(checkout, settings, allocator)["update_ends"]
    return [steps / median(end - start for start, end in pairwise(ends))]


class _PlainLoop(PlainPpo):
    """The plain learner, and a plain way to play."""

    def __init__(self, configuration: Configuration) -> None:
        self.ppo = configuration.table(PpoSettings)
        self.envs = make(configuration.environment, self.ppo.environments, 0)
        network = build(preset("impala", (64, 64, 3), 15, 256), torch.Generator().manual_seed(0))
        super().__init__(network, self.ppo.rollout_steps, self.ppo.environments)
        self.current = torch.tensor(self.envs.reset()[0], dtype=torch.float32)

    def play_and_learn(self) -> None:
        for time_ in range(self.ppo.rollout_steps):
            self.observations[time_], self.began[time_] = self.current, self.current_began
            with torch.no_grad():
                policy, self.values[time_] = self.forward(self.current)
                actions = policy.sample()
                self.actions[time_], self.log_p[time_] = actions, policy.log_prob(actions)
            current, rewards, terminated, _, _ = self.envs.step(actions.numpy())
            self.rewards[time_] = torch.tensor(rewards)
            self.current = torch.tensor(current, dtype=torch.float32)
            self.current_began = torch.tensor(terminated, dtype=torch.float32)
        self.update([torch.randperm(self.rewards.numel()) for _ in range(self.ppo.passes)], self.ppo.minibatch)


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    print(json.dumps({"ours": _ours, "alone": _alone, "plain": _plain}[kind](*rest)))
