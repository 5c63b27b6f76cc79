"""Tiny runs for the tests: presets, records, and what a finished run left."""

import csv
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event

from probe.checkpoints.native import NativeCheckpoint
from probe.trainers.configuration import Configuration, load
from probe.trainers.record import RunRecord
from probe.trainers.run import TrainingRun

CARTPOLE = """
base = "coinrun"
steps = 384

[environment]
id = "CartPole-v1"

[network]
name = "mlp"
hidden = 16

[ppo]
environments = 4
rollout_steps = 16
minibatch = 32
micro_batch = 32

[evaluation]
every = 3
episodes = 2

[diagnostics]
every = 2
samples = 64

[checkpoints]
every = 128
"""
PROCGEN = CARTPOLE.replace(
    """[environment]
id = "CartPole-v1"

[network]
name = "mlp"
hidden = 16
""",
    """[environment.shift]
at = [2, 4]

[network]
name = "conv64"
hidden = 8
""",
).replace("episodes = 2", "episodes = 2\nstep_limit = 5")
DQN = """
algorithm = "dqn"
steps = 128

[environment]
id = "CartPole-v1"

[network]
name = "mlp"
hidden = 16

[dqn]
environments = 2
decisions = 32
train_period = 4
learning_starts = 8
capacity = 64
minibatch = 8
learning_rate = 1e-2
gamma = 0.9
target_period = 16
epsilon_last = 0.1
epsilon_steps = 64

[evaluation]
every = 4
episodes = 2
policy = "greedy"

[diagnostics]
every = 2
samples = 16

[checkpoints]
every = 64
"""
DQN_ATARI = (
    DQN.replace("steps = 128", "steps = 96", 1)
    .replace("decisions = 32", "decisions = 16")
    .replace("capacity = 64", "capacity = 40")
    .replace("every = 64", "every = 32")
    .replace("episodes = 2", "episodes = 1\nstep_limit = 4")
    .replace('id = "CartPole-v1"', 'id = "atari:Phoenix"\n\n[environment.keywords]\nexact_resume = true\nsize = 84')
    .replace('name = "mlp"', 'name = "nature"')
)


def configuration(*settings: str, toml: str = CARTPOLE, folder: Path) -> Configuration:
    """Loads a preset that is written into `folder` first."""
    path = folder / "tiny.toml"
    path.write_text(toml)
    return load(str(path), ["compute.threads=1", *settings])


def record(*settings: str, toml: str = CARTPOLE, folder: Path, method: str = "baseline") -> RunRecord:
    """Makes a run's record."""
    return RunRecord.new("run", "tiny", method, 0, configuration(*settings, toml=toml, folder=folder))


def train(path: Path, made: RunRecord, resume: bool = False, steps: int | None = None) -> list[str]:
    """Trains to the end and returns the notes."""
    with TrainingRun(path, made, resume, steps) as run:
        return [note for report in run for note in report.notes]


def digests(path: Path) -> dict[str, str]:
    """Returns every checkpoint's digest by file name; each is checked against its content."""
    found = {}
    for file in sorted((path / "checkpoints").iterdir()):
        checkpoint = NativeCheckpoint(file)
        assert checkpoint.verify()
        found[file.name] = checkpoint.digest
    return found


def rows(path: Path) -> list[dict[str, str]]:
    """Returns the rows of metrics.csv without the speed."""
    with (path / "metrics.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    for row in read:
        assert float(row.pop("speed/steps_per_second")) > 0
    return read


def events(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns the (step, value) pairs of every TensorBoard tag but the speed, read record by record."""
    (file,) = path.glob("events.out.tfevents*")
    found: dict[str, list[tuple[int, float]]] = {}
    data, position = file.read_bytes(), 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 8], "little")
        event = Event.FromString(data[position + 12 : position + 12 + length])
        position += length + 16
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert position == len(data)
    del found["speed/steps_per_second"]
    return found
