"""Which files are one series, at which steps, of which run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from probe.checkpoints import Hints, open_checkpoint, open_series
from probe.checkpoints.hints import parse_hints
from probe.checkpoints.steps import step_of_name, template
from probe.errors import ConfigurationError, FileError
from tests.probe.checkpoints.test_native import write as write_native


def write(path: Path, width: int = 8, **held: object) -> Path:
    """Writes the state_dict of an MLP, nested beside what else is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"fc1.weight": torch.zeros(width, 4), "fc2.weight": torch.zeros(2, width)}
    torch.save({"model_state_dict": tensors, **held} if held else tensors, path)
    return path


@pytest.mark.parametrize(
    "name, step",
    [
        ("rl_model_500_steps", 500),
        ("step_000001000", 1000),
        ("step=250", 250),
        ("step_1_000", 1000),
        ("epoch=3-step=1200", 1200),
        ("ckpt-1M", 1_000_000),
        ("agent_1.5M", 1_500_000),
        ("ppo_200k", 200_000),
        ("checkpoint_1_000_000", 1_000_000),
        ("checkpoint-42", 42),
        ("iter_7", 7),
        ("CartPole-v1__ppo__3__500", 500),
        ("run_3_500", 500),
        ("100", 100),
        ("model_10000_steps_seed3", 10_000),
        ("timesteps_64", 64),
        ("best_model", None),
        ("CartPole-v1", None),
        ("final", None),
    ],
)
def test_steps_are_read_from_the_usual_names(name: str, step: int | None) -> None:
    assert step_of_name(name) == step


def test_names_of_one_run_differ_in_numbers_alone() -> None:
    assert template("step_500") == template("step_1_000") == template("step_10k")
    assert template("epoch=3-loss=0.25") == template("epoch=10-loss=1.5")
    assert template("a_100") != template("b_100")


def test_the_files_of_a_folder_are_one_series_in_numeric_order(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"agent_{step}.pt") for step in (500, 1000, 0, 10_000)]
    for given in ([tmp_path], [f"{tmp_path}/*.pt"], paths):
        (series,) = open_series(given)
        assert [each.step for each in series.checkpoints] == [0, 500, 1000, 10_000]
        assert [each.path for each in series.checkpoints] == [paths[i] for i in (2, 0, 1, 3)]


def test_the_content_says_the_step_before_the_name(tmp_path: Path) -> None:
    for epoch in (1, 2):
        write(tmp_path / f"ckpt_{epoch}.pt", global_step=100 * epoch, epoch=epoch)
    assert [each.step for each in open_series([tmp_path])[0].checkpoints] == [100, 200]


def test_updates_are_counted_where_nothing_says_a_step(tmp_path: Path) -> None:
    for letter, iteration in (("a", 3), ("b", 9)):
        write(tmp_path / f"{letter}.pt", iteration=torch.tensor(iteration))
    assert [each.step for each in open_series([tmp_path])[0].checkpoints] == [3, 9]


def test_a_file_alone_needs_no_step(tmp_path: Path) -> None:
    assert open_checkpoint(write(tmp_path / "final.pt")).step == 0


def test_of_a_runs_best_and_its_last_at_one_step_the_last_is_kept(tmp_path: Path) -> None:
    for name in ("best_model.pt", "final.pt"):
        write(tmp_path / name, global_step=7)
    (series,) = open_series([tmp_path])
    assert [each.path.name for each in series.checkpoints] == ["final.pt"]
    assert series.checkpoints[0].notes() == ("best_model.pt is left out: final.pt is at its step, too",)
    write(tmp_path / "other.pt", global_step=7)
    with pytest.raises(FileError, match=r"final\.pt and other\.pt are both at step 7"):
        open_series([tmp_path])


MIXED = {
    "no step": (("agent_100.pt", "final.pt"), "of final.pt says a step"),
    "two at one step": (("seed0_step5.pt", "step_5.pt"), "several runs are mixed"),
    "one step, one name": (("step_5.pt", "step_05.pt"), r"step_05\.pt and step_5\.pt are both at step 5"),
    "two names": (("ppo_0.pt", "ppo_8.pt", "dqn_4.pt"), r"by their names: dqn_4\.pt and ppo_0\.pt, ppo_8\.pt"),
    "two seeds": (("seed0_step_1.pt", "seed1_step_2.pt"), "by their seeds"),
}


@pytest.mark.parametrize("case", MIXED)
def test_files_that_do_not_belong_together_are_named(tmp_path: Path, case: str) -> None:
    names, words = MIXED[case]
    for name in names:
        write(tmp_path / name)
    with pytest.raises(FileError, match=words):
        open_series([tmp_path])


def test_two_formats_in_a_folder_are_mixed(tmp_path: Path) -> None:
    write(tmp_path / "step_1.pt", pytorch=1)
    torch.save(
        {"state_dict": {"fc1.weight": torch.zeros(8, 4)}, "pytorch-lightning_version": "2", "global_step": 2},
        tmp_path / "step_2.pt",
    )
    with pytest.raises(FileError, match="by their formats"):
        open_series([tmp_path])


def test_two_networks_in_a_folder_are_mixed(tmp_path: Path) -> None:
    write(tmp_path / "step_1.pt", width=8)
    write(tmp_path / "step_2.pt", width=12)
    with pytest.raises(FileError, match=r"by their networks: step_1\.pt and step_2\.pt"):
        open_series([tmp_path])


def test_our_own_checkpoints_stand_alone(tmp_path: Path) -> None:
    write_native(tmp_path, 0)
    write(tmp_path / "step_5.pt")
    with pytest.raises(FileError, match=r"step_000000000\.safetensors is a checkpoint of `probe train` and step_5\.pt"):
        open_series([tmp_path])


def test_the_user_says_what_files_of_one_series_share(tmp_path: Path) -> None:
    for seed in (0, 1):
        for step in (10, 20):
            write(tmp_path / f"ppo_seed{seed}_step{step}.pt")
    series = open_series([tmp_path], parse_hints(series_by=r"seed\d+"))
    assert [(each.run, each.seed, [c.step for c in each.checkpoints]) for each in series] == [
        ("seed0", 0, [10, 20]),
        ("seed1", 1, [10, 20]),
    ]
    with pytest.raises(FileError, match="matches nothing"):
        open_series([tmp_path], Hints(series_by="worker"))
    with pytest.raises(ConfigurationError, match="no regular expression"):
        parse_hints(series_by="(")


def test_runs_are_named_by_what_tells_their_folders_apart(tmp_path: Path) -> None:
    for folder in ("ppo/seed0/checkpoints", "ppo/seed1/checkpoints", "dqn/seed0/checkpoints"):
        write(tmp_path / folder / "step_5.pt")
    assert sorted((each.run, each.seed) for each in open_series([tmp_path])) == [("dqn", 0), ("ppo", 0), ("ppo", 1)]


def test_folders_of_cleanrl_say_script_and_seed(tmp_path: Path) -> None:
    write(tmp_path / "CartPole-v1__ppo__3__1700000000" / "ppo.cleanrl_model")
    (series,) = open_series([tmp_path])
    assert (series.run, series.method, series.seed) == ("CartPole-v1", "ppo", 3)


def test_what_stands_beside_checkpoints_is_none(tmp_path: Path) -> None:
    write(tmp_path / "step_5.pt")
    for name in ("optimizer.pt", "step_5.optimizer.pth", "rng_state.pth", "training_args.bin"):
        (tmp_path / name).write_bytes(b"")
    assert len(open_series([tmp_path])[0].checkpoints) == 1


def test_a_run_that_needs_statistics_says_so(tmp_path: Path) -> None:
    write(tmp_path / "run_5.pt")
    (tmp_path / "Pendulum-v1").mkdir()
    (tmp_path / "Pendulum-v1" / "vecnormalize.pkl").write_bytes(b"never opened")
    given = Hints(mean=np.zeros(4), variance=np.ones(4))
    for hints, said in ((Hints(), True), (given, False)):
        (series,) = open_series([tmp_path], hints)
        assert any("give --obs-mean and --obs-var" in note for note in series.checkpoints[0].notes()) == said


def test_equal_weights_at_two_steps_are_two_checkpoints(tmp_path: Path) -> None:
    for step in (1, 2):
        write(tmp_path / f"step_{step}.pt")
    one, two = open_series([tmp_path])[0].checkpoints
    assert one.digest != two.digest
    assert open_series([tmp_path])[0].checkpoints[0].digest == one.digest


def test_the_digest_depends_on_the_network_that_is_given(tmp_path: Path) -> None:
    path, model = write(tmp_path / "step_1.pt"), tmp_path / "net.py"
    model.write_text("from torch import nn\nnet = nn.Identity\n")
    digests = {open_checkpoint(path, Hints(model=given)).digest for given in (None, f"{model}:net")}
    given = open_checkpoint(path, Hints(model=f"{model}:net", model_args={"a": 1}))
    assert len(digests | {given.digest}) == 3
