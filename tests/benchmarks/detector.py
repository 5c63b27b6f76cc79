"""The detector on heads whose state is known: detection and false-alarm rates, and a power curve by head width.

`python -m tests.benchmarks.detector --cases 100 --folder DIR` goes on where it was broken off.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from probe.detection.verdict import MEASURES, compare, decide
from probe.networks import Network
from probe.trainers.algorithms import make_trainer
from probe.trainers.configuration import Configuration
from probe.trainers.detect.design import INJECTED, MOMENT_RESET, ArmSettings, Design
from probe.trainers.detect.fork import open_fork
from probe.trainers.detect.placement import Placement
from probe.trainers.detect.running import ArmJob, run_arm
from probe.trainers.dqn import Dqn
from probe.trainers.mitigations import make_mitigation
from probe.trainers.record import RunRecord
from probe.trainers.state import NAME, save_state
from tests.validity.score import Rate

PAIRS = 5
SETTINGS = ArmSettings(budget=256, fit_steps=100, fit_batch=32, samples=256, fit_learning_rate=3e-3)
PLACEMENT = Placement("critic", "encoder.dense2")
WIDTH = 64
WIDTHS = (16, 64, 256)
SHARES = (0.3, 0.5, 0.75)
HEALTHY_STEPS = 1_024
_HEAD = "encoder.dense2"

CONFIGURATION = {
    "algorithm": "dqn",
    "steps": 100_000,
    "environment": {"id": "CartPole-v1"},
    "network": {"name": "mlp", "hidden": WIDTH},
    "dqn": {
        "environments": 4,
        "decisions": 64,
        "train_period": 8,
        "learning_starts": 256,
        "capacity": 2_048,
        "minibatch": 32,
        "learning_rate": 1e-3,
        "gamma": 0.99,
        "target_period": 128,
        "epsilon_last": 0.1,
        "epsilon_steps": 512,
    },
    "evaluation": {"every": 1_000, "episodes": 1, "policy": "greedy"},
    "diagnostics": {"every": 1_000, "samples": 16},
    "checkpoints": {"every": 100_000},
    "compute": {"device": "cpu", "precision": "float32", "threads": 1},
}


@dataclass(frozen=True)
class Case:
    """A network whose state is known."""

    kind: str
    width: int
    seed: int
    faulty: bool | None
    """None: a point of the power curve, of which nothing is claimed."""
    share: float = 0.0
    """Of the head's units that are killed by their bias."""
    tanh: bool = False
    """Whether the head is of tanh, saturated by biases of +-20."""
    steps: int = 0
    """Of healthy training before."""

    @property
    def key(self) -> str:
        """Names the case in the file of results."""
        return f"{self.kind}/{self.width}/{self.seed}"


def known_cases(seeds: Sequence[int]) -> Iterator[Case]:
    """Yields each kind with these seeds, one of each after another."""
    for seed in seeds:
        yield Case("90 % of units killed", WIDTH, seed, True, share=0.9)
        yield Case("100 % of units killed", WIDTH, seed, True, share=1.0)
        yield Case("tanh saturated by +-20", WIDTH, seed, True, tanh=True)
        yield Case("newly drawn", WIDTH, seed, False)
        yield Case(f"trained for {HEALTHY_STEPS:,} steps", WIDTH, seed, False, steps=HEALTHY_STEPS)


def power_cases(seeds: Sequence[int]) -> Iterator[Case]:
    """Yields each share and width with these seeds."""
    for seed in seeds:
        for width in WIDTHS:
            for share in SHARES:
                yield Case(f"{100 * share:.0f} % of units killed", width, seed, None, share=share)


def detect(case: Case, folder: Path) -> dict[str, object]:
    """Makes a run folder that holds the case's state, and asks the detector."""
    shutil.rmtree(folder, ignore_errors=True)
    step = write_run(case, folder)
    fork = open_fork(folder, step)
    design = Design(PLACEMENT, "state", SETTINGS)
    losses: dict[str, list[dict[str, float]]] = {MOMENT_RESET: [], INJECTED: []}
    start = time.perf_counter()
    for seed in range(PAIRS):
        for arm, found in losses.items():
            points = run_arm(ArmJob(fork, str(case), design, arm, seed, folder / "detect.h5")).points() or []
            found.append({each.metric: float("nan") if each.value is None else each.value for each in points})
    seconds = (time.perf_counter() - start) / (2 * PAIRS)
    both = list(zip(losses[MOMENT_RESET], losses[INJECTED], strict=True))
    compared = compare(
        {
            each: [(first[each.name], second[each.name], first.get(each.start, 0.0)) for first, second in both]
            for each in MEASURES
        }
    )
    verdict = decide(compared)
    gains = {each.measure.name: each.mean for each in compared}
    return {**asdict(case), "verdict": verdict.state, "because": verdict.because, "gains": gains, "seconds": seconds}


def write_run(case: Case, folder: Path) -> int:
    """Writes run.toml, a resume state and its replay; returns the step."""
    configuration = Configuration.model_validate({**CONFIGURATION, "network": {"name": "mlp", "hidden": case.width}})
    method = "tanh" if case.tanh else "baseline"
    record = RunRecord.new("known", "known", method, case.seed, configuration)
    record.write(folder)
    agent = make_trainer(configuration, make_mitigation(method, {}), case.seed)
    assert isinstance(agent, Dqn)
    agent.replay.store_in(folder / "state" / "replay")
    if case.steps:
        while agent.step < case.steps:
            agent.iterate()
    else:
        agent.fill(configuration.learning.smallest_batch * 8)
        agent.step = 256
    spoil(agent.network, case)
    agent.synchronise()
    save_state(folder / "state" / NAME.format(step=agent.step), {"trainer": agent.get_state()})
    agent.close()
    return agent.step


@torch.no_grad()
def spoil(network: Network, case: Case) -> None:
    """Gives units of the head biases that no observation overcomes."""
    bias = network.get_parameter(f"{_HEAD}.bias")
    rng = torch.Generator().manual_seed(case.seed)
    if case.tanh:
        bias.copy_(20.0 * (2 * torch.randint(2, bias.shape, generator=rng) - 1))
    bias[torch.randperm(len(bias), generator=rng)[: round(case.share * len(bias))]] = -1e4


def judged(cases: Sequence[Case], folder: Path) -> list[dict[str, object]]:
    """Returns what the detector said of every case; those of the file of results are not done again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "verdicts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    known = {f"{each['kind']}/{each['width']}/{each['seed']}": each for each in map(json.loads, lines)}
    console = Console(stderr=True)
    for place, case in enumerate(cases, start=1):
        if case.key not in known:
            known[case.key] = detect(case, folder / "run")
            with path.open("a") as file:
                file.write(json.dumps(known[case.key]) + "\n")
            console.print(f"{place} of {len(cases)}: {case.key}: {known[case.key]['verdict']}", highlight=False)
    return [known[case.key] for case in cases]


def report(found: Sequence[dict[str, object]], title: str) -> None:
    """Prints how often each kind of case was found."""
    table = Table(title=title, title_justify="left")
    for column in ("Head", "Width", "Cases", "Lost", "Undecided", "Found, 95 % Wilson interval"):
        table.add_column(column, justify="left" if column == "Head" else "right")
    for kind, width in dict.fromkeys((str(each["kind"]), str(each["width"])) for each in found):
        group = [each for each in found if (str(each["kind"]), str(each["width"])) == (kind, width)]
        lost, undecided = (sum(each["verdict"] == state for each in group) for state in ("lost", "undecided"))
        table.add_row(kind, width, str(len(group)), str(lost), str(undecided), Rate(lost, len(group)).text)
    console = Console(width=120)
    console.print(table)
    for faulty, words in ((True, "Faults found"), (False, "False alarms")):
        group = [each for each in found if each["faulty"] is faulty]
        if group:
            rate = Rate(sum(each["verdict"] == "lost" for each in group), len(group))
            console.print(f"{words}: {rate.found} of {rate.of}, {rate.text}")


def main() -> None:
    """Judges the cases and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10, help="Of each kind.")
    parser.add_argument("--power", type=int, default=4, help="Of each share and width of the power curve.")
    parser.add_argument("--first", type=int, default=0, help="Seed of the first case; the others follow.")
    parser.add_argument("--folder", type=Path, default=Path("runs/detector"))
    arguments, _ = parser.parse_known_args()
    first = arguments.first
    known = judged(list(known_cases(range(first, first + arguments.cases))), arguments.folder)
    report(known, f"Known heads, {PAIRS} pairs each")
    power = judged(list(power_cases(range(first, first + arguments.power))), arguments.folder)
    if power:
        report(power, f"Power, {PAIRS} pairs each")
    seconds = [float(str(each["seconds"])) for each in (*known, *power)]
    if seconds:
        print(f"An arm took {sum(seconds) / len(seconds):.2f} s on average.")


if __name__ == "__main__":
    main()
