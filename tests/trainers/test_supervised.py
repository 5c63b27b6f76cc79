"""The supervised trainer, on real frames: what it reports is what it does, and it resumes exactly."""

import csv
import importlib.util
from pathlib import Path

import pytest
import torch

from probe.checkpoints.native import NativeCheckpoint
from probe.errors import ConfigurationError
from probe.trainers.configuration import load, presets
from probe.trainers.mitigations import make_mitigation
from probe.trainers.outcome import read_outcome
from probe.trainers.record import RunRecord
from probe.trainers.run import TrainingRun
from probe.trainers.state import load_state, save_state
from probe.trainers.supervised import Supervised
from tests.trainers.runs import CARTPOLE, configuration, digests, rows, train

if importlib.util.find_spec("procgen") is None:
    pytest.skip("procgen is not installed", allow_module_level=True)

STREAM = """
base = "permuted"
steps = 384

[environment.keywords]
frames = 12

[environment.shift]
every = 2

[network]
hidden = 16

[supervised]
minibatch = 8
minibatches = 8

[mitigation.cbp]
rate = 0.1
maturity = 1

[mitigation.redo]
period = 3
tau = 0.5

[evaluation]
every = 3
episodes = 40

[diagnostics]
every = 2
samples = 64

[checkpoints]
every = 128
"""
METHODS = [
    "baseline",
    "layernorm",
    "l2-init",
    "redo",
    "cbp",
    "shrink-perturb",
    "batchnorm",
    "infer",
    "specnorm",
    "augment",
]


def agent(folder: Path, method: str = "baseline", *settings: str, seed: int = 0) -> Supervised:
    made = configuration(*settings, toml=STREAM, folder=folder)
    return Supervised(made, make_mitigation(method, made.mitigation), seed, "cpu", "float32")


def record(folder: Path, method: str = "baseline") -> RunRecord:
    return RunRecord.new("run", "tiny", method, 0, configuration(toml=STREAM, folder=folder))


def test_the_network_is_a_classifier_without_a_value(tmp_path: Path) -> None:
    network = agent(tmp_path).network
    assert list(network.spec.modules) == ["encoder", "actor"]
    outputs = network(torch.zeros((3, 16, 16, 1), dtype=torch.uint8))
    assert list(outputs) == ["actor"] and outputs["actor"].shape == (3, 16)


def test_the_accuracy_is_that_of_the_weights_before_each_step(tmp_path: Path) -> None:
    still = ("supervised.minibatches=1", "environment.shift.every=1000")
    trainer, shadow = agent(tmp_path, "baseline", *still), agent(tmp_path)
    for _ in range(4):
        observations = torch.from_numpy(trainer.envs.current_observations())
        labels = torch.from_numpy(trainer.envs.labels.copy())
        shadow.network.load_state_dict(trainer.network.state_dict())
        with torch.no_grad():
            logits = shadow.network(observations)["actor"]
        metrics = trainer.iterate()
        assert metrics["accuracy/train"] == (logits.argmax(dim=1) == labels).float().mean().item()
        log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
        expected = -log_probabilities[torch.arange(8), labels].mean().item()
        assert metrics["loss/classification"] == pytest.approx(expected, rel=1e-5)


def test_the_accuracy_of_a_task_is_told_once_at_its_end(tmp_path: Path) -> None:
    trainer = agent(tmp_path)
    told = [trainer.iterate() for _ in range(6)]
    means = [metrics.get("accuracy/task") for metrics in told]
    assert means[::2] == [None] * 3
    for index in (1, 3, 5):
        both = [told[index - 1]["accuracy/train"], told[index]["accuracy/train"]]
        assert means[index] == pytest.approx(sum(each or 0 for each in both) / 2)
    assert (trainer.task, trainer.step, trainer.updates) == (2, 6 * 64, 6)


def test_classes_are_learnt(tmp_path: Path) -> None:
    settings = (
        "environment.keywords.labels=games",
        "environment.shift.every=1000",
        "supervised.learning_rate=3e-3",
        "network.hidden=64",
    )
    trainer = agent(tmp_path, "baseline", *settings)
    accuracies = [trainer.iterate()["accuracy/train"] or 0 for _ in range(60)]
    assert accuracies[0] < 0.3 and sum(accuracies[-10:]) / 10 > 0.6  # chance is 1/16


def test_redrawn_labels_are_learnt_ever_worse_but_with_l2_init(tmp_path: Path) -> None:
    # The shipped preset on fewer pictures, in larger steps and fewer of them.
    shorter = "base = 'permuted'\n[environment.keywords]\nframes = 3\n[environment.shift]\nevery = 1\n"
    made = configuration("supervised.learning_rate=1e-2", "supervised.minibatch=48", toml=shorter, folder=tmp_path)
    first, last = {}, {}
    for method in ("baseline", "l2-init"):
        trainer = Supervised(made, make_mitigation(method, made.mitigation), 0, "cpu", "float32")
        tasks = [trainer.iterate()["accuracy/task"] or 0 for _ in range(20)]
        first[method], last[method] = sum(tasks[:5]) / 5, sum(tasks[-5:]) / 5
    assert last["baseline"] < 0.7 * first["baseline"]
    assert last["l2-init"] > 1.5 * last["baseline"]


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_method_acts_and_resumes_exactly(tmp_path: Path, method: str) -> None:
    whole = agent(tmp_path, method)
    for _ in range(3):
        whole.iterate()
    save_state(tmp_path / "state", whole.get_state())
    resumed = agent(tmp_path, method, seed=7)
    resumed.set_state(load_state(tmp_path / "state"))
    for _ in range(3):
        assert whole.iterate() == resumed.iterate()
    plain = agent(tmp_path)
    for _ in range(6):
        plain.iterate()
    left, right = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(tensor, right[name]) for name, tensor in left.items())
    if method != "baseline":
        before = plain.network.state_dict()
        shared = [name for name in left if name in before and left[name].shape == before[name].shape]
        assert any(not torch.equal(left[name], before[name]) for name in shared)


def test_a_run_is_a_normal_run_folder_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    made = record(tmp_path, "redo")
    train(tmp_path / "whole", made)
    with TrainingRun(tmp_path / "cut", made) as run:
        for report in run:
            if report.step >= 192:
                break
    train(tmp_path / "cut", made, resume=True)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    logged = rows(tmp_path / "whole")
    assert [row["task"] for row in logged] == ["0", "0", "1", "1", "2", "2"]
    assert [bool(row["accuracy/test"]) for row in logged] == [False, False, True] * 2
    assert not [name for name in logged[0] if "critic" in name or name.startswith("return/")]
    last = NativeCheckpoint(sorted((tmp_path / "whole" / "checkpoints").iterdir())[-1])
    assert (last.metadata.algorithm, last.metadata.task, last.step) == ("supervised", 2, 384)
    outcome = read_outcome(tmp_path / "whole")
    assert outcome.return_train is None and outcome.accuracy_test == float(logged[-1]["accuracy/test"])


def test_the_shipped_preset_permutes_single_pixels_and_is_tested_on_the_same_pictures() -> None:
    permuted = load("permuted")
    assert permuted.summary == presets()["permuted"]
    shift = permuted.environment.shift
    assert shift is not None and shift.grid == permuted.environment.keywords["side"]
    assert permuted.test_environment == permuted.environment


@pytest.mark.parametrize(
    ("toml", "settings", "words"),
    [
        (CARTPOLE, ["algorithm=supervised"], "one algorithm's table, here [supervised]"),
        (STREAM, ["ppo.clip=0.2"], "'ppo.minibatch' is missing"),
        (STREAM, ["supervised.minibatchs=2"], "Did you mean: minibatch"),
    ],
)
def test_a_wrong_table_says_what_was_expected(tmp_path: Path, toml: str, settings: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        configuration(*settings, toml=toml, folder=tmp_path)
    assert words in str(error.value)


def test_what_needs_a_policy_or_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="settings of algorithm 'ppo'"):
        agent(tmp_path, "entropy")
    cart = CARTPOLE.replace("[ppo]", "[supervised]\nminibatches = 1\nlearning_rate = 1e-3").replace(
        'base = "coinrun"', 'algorithm = "supervised"'
    )
    lines = [line for line in cart.splitlines() if not line.startswith(("environments", "rollout", "micro"))]
    made = configuration(toml="\n".join(lines), folder=tmp_path)
    with pytest.raises(ConfigurationError, match="does not tell what the right action is"):
        Supervised(made, make_mitigation("baseline", {}), 0, "cpu", "float32")


def test_the_log_has_a_line_an_update(tmp_path: Path) -> None:
    train(tmp_path / "run", record(tmp_path))
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [64 * n for n in range(1, 7)]
