"""Deep Q-learning: its formulas by hand, its schedule, its target network, and resuming bit for bit."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from probe import policies
from probe.checkpoints.native import NativeCheckpoint
from probe.datasets.collect import collect
from probe.datasets.environments import EnvironmentSpec
from probe.datasets.sampling import Sampling
from probe.errors import ConfigurationError, FileError
from probe.observations import open_observations
from probe.trainers.configuration import load
from probe.trainers.dqn import Dqn, epsilon_at, target_values, value_loss
from probe.trainers.folder import RunFolder
from probe.trainers.mitigations import make_mitigation
from probe.trainers.run import TrainingRun
from tests.trainers.runs import DQN, DQN_ATARI, configuration, digests, events, record, rows, train

ATARI = pytest.mark.skipif(importlib.util.find_spec("ale_py") is None, reason="ale-py is not installed")


def agent(folder: Path, *settings: str, method: str = "baseline", toml: str = DQN, seed: int = 0) -> Dqn:
    made = configuration(*settings, toml=toml, folder=folder)
    return Dqn(made, make_mitigation(method, made.mitigation), seed, "cpu", "float32")


def test_targets_by_hand() -> None:
    rewards, discounts = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0.5, 0.25, 0.0])
    following = torch.tensor([[4.0, 8.0], [2.0, -6.0], [100.0, 200.0]])
    choosing = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert target_values(rewards, discounts, following, choosing).tolist() == [3.0, -2.5, 0.5]
    assert target_values(rewards, discounts, following, following).tolist() == [5.0, -0.5, 0.5]


def test_losses_by_hand() -> None:
    values, targets = torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.5, 1.0, 0.0])
    assert value_loss(values, targets, "huber").item() == pytest.approx((0.125 + 0.5 + 2.5) / 3)
    assert value_loss(values, targets, "squared").item() == pytest.approx((0.25 + 1 + 9) / 3)


def test_epsilon_falls_linearly_and_stays(tmp_path: Path) -> None:
    settings = configuration(toml=DQN, folder=tmp_path).dqn
    assert settings is not None and (settings.epsilon_first, settings.epsilon_last) == (1.0, 0.1)
    found = [epsilon_at(step, settings) for step in (0, 32, 64, 1000)]
    assert found == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_epsilon_greedy_explores_as_often_as_it_says() -> None:
    values = torch.tensor([[0.0, 1.0, 0.0]]).repeat(20_000, 1)
    actions = policies.epsilon_greedy(values, 0.3, torch.Generator().manual_seed(0))
    shares = torch.bincount(actions, minlength=3) / 20_000
    assert torch.allclose(shares, torch.tensor([0.1, 0.8, 0.1]), atol=0.01)
    assert (policies.epsilon_greedy(values, 0.0, torch.Generator()) == 1).all()


def test_the_loss_is_that_of_the_batch_under_the_definition(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "dqn.learning_starts=1000", "dqn.n_step=2")
    trainer.iterate()
    with torch.no_grad():
        for parameter in trainer.target.parameters():
            parameter.add_(0.1)
    expected = trainer.replay.sample(8, 2, 0.9, torch.Generator().manual_seed(7))
    trainer.streams["batch"].manual_seed(7)
    loss, mean = trainer._learn().tolist()
    with torch.no_grad():
        now, chosen, valued = (
            network.eval()(observations)["critic"].numpy().astype(float)
            for network, observations in (
                (trainer.network, expected.observations),
                (trainer.network, expected.next_observations),
                (trainer.target, expected.next_observations),
            )
        )
    own = now[np.arange(8), expected.actions]
    wanted = expected.rewards.numpy() + expected.discounts.numpy() * valued[np.arange(8), chosen.argmax(axis=1)]
    error = np.abs(own - wanted)
    assert loss == pytest.approx(np.where(error < 1, error**2 / 2, error - 0.5).mean(), rel=1e-5)
    assert mean == pytest.approx(own.mean(), rel=1e-5)


def test_it_learns_and_copies_when_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = agent(tmp_path, "dqn.learning_starts=20", "dqn.train_period=8", "dqn.target_period=24")
    calls: list[tuple[str, int]] = []
    step, learn, copied = trainer._decide, trainer._learn, trainer.synchronise
    decided = 0

    def decide(epsilon: float) -> None:
        nonlocal decided
        decided += 2
        step(epsilon)

    monkeypatch.setattr(trainer, "_decide", decide)
    monkeypatch.setattr(trainer, "_learn", lambda: (calls.append(("learn", decided)), learn())[1])
    monkeypatch.setattr(trainer, "synchronise", lambda: (calls.append(("copy", decided)), copied())[1])
    trainer.iterate()
    trainer.iterate()
    assert calls == [
        ("learn", 24), ("copy", 24), ("learn", 32), ("learn", 40), ("learn", 48), ("copy", 48), ("learn", 56),
        ("learn", 64),
    ]  # fmt: skip


def test_between_copies_the_target_stays_as_it_is(tmp_path: Path) -> None:
    trainer = agent(tmp_path, "dqn.target_period=96")
    start = {name: tensor.clone() for name, tensor in trainer.target.state_dict().items()}
    trainer.iterate()
    assert all(torch.equal(tensor, start[name]) for name, tensor in trainer.target.state_dict().items())
    assert not torch.equal(trainer.network.get_parameter("critic.output.weight"), start["critic.output.weight"])
    trainer.iterate()
    trainer.iterate()
    same = zip(trainer.network.state_dict().values(), trainer.target.state_dict().values(), strict=True)
    assert all(torch.equal(own, copied) for own, copied in same)


def test_metrics_and_checkpoints_say_what_the_agent_does(tmp_path: Path) -> None:
    train(tmp_path / "run", record(toml=DQN, folder=tmp_path))
    read = rows(tmp_path / "run")
    assert [int(row["step"]) for row in read] == [32, 64, 96, 128]
    assert [float(row["policy/epsilon"]) for row in read] == pytest.approx([0.55, 0.1, 0.1, 0.1])
    assert all(row["loss/value"] and row["value/mean"] for row in read) and read[-1]["return/test"]
    metadata = NativeCheckpoint(tmp_path / "run" / "checkpoints" / "step_000000128.safetensors").metadata
    assert metadata.algorithm == "dqn" and list(metadata.network.modules) == ["encoder", "critic"]
    assert metadata.acting["policy"] == "epsilon-greedy" and metadata.acting["epsilon"] == 0.1


def test_observations_are_collected_as_the_agent_acts(tmp_path: Path) -> None:
    train(tmp_path / "run", record(toml=DQN, folder=tmp_path))
    checkpoint = NativeCheckpoint(tmp_path / "run" / "checkpoints" / "step_000000128.safetensors")
    assert checkpoint.exploration == 0.1
    environment = EnvironmentSpec(id="CartPole-v1")
    collect(environment, tmp_path / "set.h5", Sampling(samples=400, stride=1, num_envs=4), checkpoint)
    held = open_observations(tmp_path / "set.h5")
    best = checkpoint.network()(next(iter(held.batches(400))))["critic"].argmax(dim=1).numpy()
    # Of the random tenth, half are the best action all the same.
    assert 0.9 <= (held.column("actions")[:] == best).mean() <= 0.99


@ATARI
@pytest.mark.parametrize("method", ["baseline", "injection"])
def test_a_run_on_atari_resumes_bit_for_bit(tmp_path: Path, method: str) -> None:
    settings = ("mitigation.injection.steps=[40]",) if method == "injection" else ()
    made = record(*settings, toml=DQN_ATARI, folder=tmp_path, method=method)
    train(tmp_path / "whole", made)
    with pytest.raises(KeyboardInterrupt), TrainingRun(tmp_path / "resumed", made) as run:
        for count, _ in enumerate(run, start=1):
            if count == 3:
                run.trainer.iterate()  # an update that is broken off
                raise KeyboardInterrupt
    notes = train(tmp_path / "resumed", made, resume=True)
    assert not notes
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")
    assert rows(tmp_path / "resumed") == rows(tmp_path / "whole")
    assert events(tmp_path / "resumed") == events(tmp_path / "whole")


@ATARI
def test_the_vector_environment_resumes_with_new_episodes_and_says_so(tmp_path: Path) -> None:
    made = record("environment.keywords.exact_resume=false", toml=DQN_ATARI, folder=tmp_path)
    with pytest.raises(KeyboardInterrupt), TrainingRun(tmp_path / "run", made) as run:
        next(iter(run))
        raise KeyboardInterrupt
    notes = train(tmp_path / "run", made, resume=True)
    assert len(notes) == 1 and "new ones have started" in notes[0]
    assert len(rows(tmp_path / "run")) == 6


@ATARI
def test_a_state_holds_no_copy_of_the_replay(tmp_path: Path) -> None:
    made = record(toml=DQN_ATARI, folder=tmp_path)
    train(tmp_path / "run", made)
    folder = RunFolder(tmp_path / "run")
    replay = sum(path.stat().st_size for path in folder.replay.iterdir())
    network = sum(path.stat().st_size for path in (tmp_path / "run" / "checkpoints").iterdir()) / 4
    assert 40 * 84 * 84 <= replay < 96 * 84 * 84, "what is learnt from, and not all that was ever seen"
    # Network, target network and two moments of each parameter; games and current frames besides.
    assert folder.states[-1].stat().st_size < 4.2 * network + 200_000


@ATARI
def test_a_damaged_replay_is_refused(tmp_path: Path) -> None:
    made = record(toml=DQN_ATARI, folder=tmp_path)
    train(tmp_path / "run", made)
    path = max(RunFolder(tmp_path / "run").replay.iterdir())
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="not the rows"):
        train(tmp_path / "run", made, resume=True, steps=128)


def test_presets_have_the_settings_of_their_sources() -> None:
    dqn = load("phoenix").dqn
    assert dqn is not None and (dqn.learning_rate, dqn.adam_epsilon, dqn.minibatch) == (1e-4, 1.5e-4, 32)
    assert (dqn.capacity, dqn.learning_starts, dqn.target_period, dqn.train_period) == (1_000_000, 80_000, 8_000, 4)
    assert load("phoenix").environment.keywords["exact_resume"] is True
    assert load("phoenix").test_environment.keywords["episodic_life"] is False
    with pytest.raises(ConfigurationError, match=r"multiple of 'dqn\.environments'"):
        load("cartpole", ["dqn.environments=3"])
    with pytest.raises(ConfigurationError, match="no probabilities"):
        load("cartpole", ["evaluation.policy=sample"])


@ATARI
def test_a_sequence_of_games_is_learnt_with_one_network_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    shift = ("environment.shift.kind=game", 'environment.shift.games=["Breakout"]', "environment.shift.every=2")
    shared = "environment.keywords.full_action_space=true"
    made = record(*shift, shared, "evaluation.every=1", toml=DQN_ATARI, folder=tmp_path)
    train(tmp_path / "whole", made)
    read = rows(tmp_path / "whole")
    assert [row["task"] for row in read] == list("001122")
    assert all(row["return/test_human_normalised"] for row in read)
    with pytest.raises(KeyboardInterrupt), TrainingRun(tmp_path / "resumed", made) as run:
        for _ in zip(range(3), run, strict=False):
            pass
        raise KeyboardInterrupt
    assert not train(tmp_path / "resumed", made, resume=True)
    assert rows(tmp_path / "resumed") == read
