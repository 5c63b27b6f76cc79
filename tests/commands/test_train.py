import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probe.commands.train import parse_seeds
from probe.errors import ConfigurationError
from tests.commands.invoke import Invoke
from tests.trainers.runs import CARTPOLE, digests, rows


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "cart.toml"
    path.write_text(CARTPOLE + "\n[compute]\nthreads = 1\n")
    return path


def test_methods_and_seeds_get_a_folder_each_and_a_line_each(probe: Invoke, preset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    methods = ("--method", "baseline", "--method", "specnorm")
    outcome = probe("train", preset, *methods, "--seeds", "0,2", "--out", out, "--steps", "128")
    assert outcome.code == 0, outcome.error
    folders = [f"{out}/{method}/seed{seed}" for method in ("baseline", "specnorm") for seed in (0, 2)]
    lines = outcome.out.splitlines()
    assert [line.split("  ")[0] for line in lines] == folders
    for line in lines:
        assert "128 steps" in line and "return/train" in line and "return/test" in line and "steps/s" in line
    found = [digests(Path(folder)) for folder in folders]
    assert len({each["step_000000128.safetensors"] for each in found}) == 4


def test_json_is_an_array_of_what_each_run_came_to(probe: Invoke, preset: Path, tmp_path: Path) -> None:
    outcome = probe("train", preset, "--out", tmp_path / "out", "--steps", 128, "--json")
    (described,) = json.loads(outcome.out)
    assert described["path"] == str(tmp_path / "out" / "baseline" / "seed0") and described["step"] == 128
    assert described["method"] == "baseline" and described["seed"] == 0
    assert described["return_test"] > 0 and described["steps_per_second"] > 0


def test_the_run_folder_is_named_after_the_preset(
    probe: Invoke, preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert probe("train", preset, "--steps", 64).code == 0
    assert (tmp_path / "runs" / "cart" / "baseline" / "seed0" / "run.toml").exists()


def test_options_stand_for_settings(probe: Invoke, preset: Path, tmp_path: Path) -> None:
    options = ("--checkpoint-every", "64", "--keep-state", "64", "--keep-every", "0.128k", "--set", "ppo.clip=0.3")
    outcome = probe("train", preset, "--out", tmp_path / "out", "--steps", "0.256k", "--device", "cpu", *options)
    assert outcome.code == 0, outcome.error
    folder = tmp_path / "out" / "baseline" / "seed0"
    assert len(digests(folder)) == 5
    assert [path.stem[-3:] for path in sorted((folder / "state").iterdir())] == ["000", "064", "128", "192", "256"]
    assert "clip = 0.3" in (folder / "run.toml").read_text()


def test_an_existing_folder_is_never_overwritten(probe: Invoke, preset: Path, tmp_path: Path) -> None:
    command = ("train", preset, "--out", tmp_path / "out", "--steps", 64)
    assert probe(*command).code == 0
    before = digests(tmp_path / "out" / "baseline" / "seed0")
    # The second method is free, but nothing starts: all folders are looked at first.
    outcome = probe(*command, "--method", "specnorm", "--method", "baseline")
    assert outcome.code == 2 and "--resume" in outcome.error and "another --out" in outcome.error
    assert not (tmp_path / "out" / "specnorm").exists()
    assert digests(tmp_path / "out" / "baseline" / "seed0") == before


def test_resume_passes_over_what_is_finished_and_starts_what_is_not(
    probe: Invoke, preset: Path, tmp_path: Path
) -> None:
    command = ("train", preset, "--out", tmp_path / "out", "--steps", 64)
    probe(*command)
    outcome = probe(*command, "--method", "baseline", "--method", "specnorm", "--resume")
    assert outcome.code == 0 and "baseline/seed0: finished already" in outcome.error
    assert len(rows(tmp_path / "out" / "specnorm" / "seed0")) == 1


def test_more_steps_on_resume_train_on(probe: Invoke, preset: Path, tmp_path: Path) -> None:
    command = ("train", preset, "--out", tmp_path / "out")
    probe(*command, "--steps", 64)
    assert probe(*command, "--steps", 192, "--resume").code == 0
    assert len(rows(tmp_path / "out" / "baseline" / "seed0")) == 3
    again = probe(*command, "--resume")  # without --steps, to where the run went
    assert "finished already" in again.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("demos",), "Unknown preset 'demos'. Did you mean: demo?"),
        (("demo", "--method", "spectnorm"), "Unknown method 'spectnorm'. Did you mean: specnorm?"),
        (("demo", "--set", "ppo.clipp=1"), "Did you mean: clip?"),
        (("demo", "--set", "ppo.clip=wide"), "'ppo.clip' is 'wide'"),
        (("demo", "--steps", "many"), "'many' is no whole number"),
        (("demo", "--seeds", "4-0"), "expected seeds such as 0-4"),
        (("demo", "--device", "tpu"), "'compute.device' is 'tpu'"),
        (("nowhere/demo.toml",), "nowhere/demo.toml: cannot be read"),
    ],
)
def test_bad_input_ends_in_a_message_and_leaves_nothing(
    probe: Invoke, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    outcome = probe("train", *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert words in outcome.error and "Traceback" not in outcome.error
    assert not (tmp_path / "out").exists()


def test_a_wrong_environment_ends_in_a_message(probe: Invoke, preset: Path, tmp_path: Path) -> None:
    outcome = probe("train", preset, "--set", "environment.id=CartPole-v7", "--out", tmp_path / "out")
    assert outcome.code == 2 and "CartPole" in outcome.error
    assert not (tmp_path / "out").exists()


def test_ctrl_c_saves_and_prints_the_command_that_resumes(preset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["train", str(preset), "--out", str(out), "--steps", "1M", "--set", "state.interval=1e9"]
    code = "import sys; sys.argv[0] = 'probe'; from probe.commands.app import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)
    metrics = out / "baseline" / "seed0" / "metrics.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not metrics.exists() or metrics.read_text().count("\n") < 5):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"probe train {preset} --out {out} --steps 1M --set state.interval=1e9 --resume" in error
    assert "Traceback" not in error
    states = sorted((out / "baseline" / "seed0" / "state").iterdir())
    assert int(states[-1].stem[5:]) >= 3 * 64
    assert len(list((out / "baseline" / "seed0" / "checkpoints").iterdir())) <= 1 + int(states[-1].stem[5:]) // 128


def test_seeds() -> None:
    assert parse_seeds("0-4") == [0, 1, 2, 3, 4]
    assert parse_seeds("0,3,7") == [0, 3, 7]
    assert parse_seeds("5") == [5]
    assert parse_seeds("2,0-2") == [2, 0, 1]
    for text in ("", "a", "1-", "-1", "1,,2", "3-1", "1.5"):
        with pytest.raises(ConfigurationError, match="expected seeds such as"):
            parse_seeds(text)
