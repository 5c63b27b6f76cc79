import json

import pytest
import typer
from typer.testing import CliRunner

from probe.checkpoints import open_series
from probe.commands.collect import collect
from probe.datasets.environments import EnvironmentSpec
from probe.errors import ProbeError
from probe.observations import open_observations
from tests.datasets.test_collect import checkpoint

CARTPOLE = EnvironmentSpec(id="CartPole-v1", frame_stack=2, step_limit=30)


def run(*arguments):
    app = typer.Typer()
    app.command()(collect)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def series(tmp_path):
    """A checkpoint whose widest layer has 16 units."""
    return checkpoint(tmp_path / "run" / "checkpoints", CARTPOLE, (8,), 2).path


def error_of(*arguments):
    result = run(*arguments)
    assert isinstance(result.exception, ProbeError), result.output
    return str(result.exception)


def test_one_line_says_what_there_is(tmp_path):
    result = run("CartPole-v1", "--out", tmp_path / "a.h5", "--samples", 20, "--num-envs", 2)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{tmp_path}/a.h5: 20 samples of ") and "pooled" in result.stdout
    assert result.stdout.count("\n") == 1 and "frames/s" in result.stderr
    assert open_observations(tmp_path / "a.h5").samples == 20


def test_json_is_alone_on_standard_output(tmp_path):
    result = run("CartPole-v1", "--out", tmp_path / "a.h5", "--samples", 20, "--json")
    found = json.loads(result.stdout)
    written = open_observations(tmp_path / "a.h5")
    assert found["path"] == str(tmp_path / "a.h5") and found["digest"] == written.digest
    assert (found["samples"], found["kind"], found["bytes"]) == (20, "pooled", (tmp_path / "a.h5").stat().st_size)


def test_a_series_gives_its_settings_and_ten_samples_a_unit(tmp_path, series):
    result = run("CartPole-v1", "--out", tmp_path / "a.h5", "--for", tmp_path / "run", "--set", "step_limit=25")
    assert result.exit_code == 0 and "Warning" not in result.stderr
    found = open_observations(tmp_path / "a.h5")
    assert found.samples == 160 and found.attributes["policy"] == "random"
    specification = EnvironmentSpec.model_validate(found.attributes["specification"])
    assert specification == CARTPOLE.model_copy(update={"step_limit": 25})


def test_fewer_samples_than_ten_a_unit_are_warned_of(tmp_path, series):
    result = run("CartPole-v1", "--out", tmp_path / "a.h5", "--for", series, "--samples", 159)
    assert result.exit_code == 0 and "159 samples for a layer of 16 units" in result.stderr
    assert "Warning" not in result.stdout


def test_a_policy_acts_in_its_own_task_and_settings(tmp_path, series):
    result = run("CartPole-v1", "--out", tmp_path / "a.h5", "--policy", series)
    assert result.exit_code == 0 and "matched" in result.stdout
    found = open_observations(tmp_path / "a.h5")
    assert (found.samples, found.task, found.kind) == (160, 2, "matched")
    assert found.attributes["specification"]["frame_stack"] == 2


def test_without_a_network_2560_samples_are_the_default(tmp_path):
    run("CartPole-v1", "--out", tmp_path / "a.h5", "--stride", 1)
    assert open_observations(tmp_path / "a.h5").samples == 2560


def test_two_series_of_different_environments_are_refused(tmp_path):
    for name, stack in (("one", 1), ("two", 3)):
        specification = CARTPOLE.model_copy(update={"frame_stack": stack})
        checkpoint(tmp_path / "runs" / name / "checkpoints", specification, (4 * stack,), 2)
    message = error_of("CartPole-v1", "--out", tmp_path / "a.h5", "--for", tmp_path / "runs")
    assert "different environments" in message and "one" in message and "two" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("CartPole-v7",), "Did you mean: CartPole-v1"),
        (("procgen:coinrum",), "Did you mean: coinrun"),
        (("CartPole-v1", "--set", "frame_stak=2"), "Did you mean: frame_stack"),
        (("CartPole-v1", "--policy", "none.safetensors"), "no such file"),
        (("CartPole-v1", "--for", "no/such/run"), "no such file"),
        (("CartPole-v1", "--stride", "0"), "`stride` is 0"),
        (("CartPole-v1", "--samples", "0"), "`samples` is 0"),
    ],
)
def test_bad_input_is_named_and_writes_nothing(tmp_path, arguments, words):
    assert words in error_of(*arguments, "--out", tmp_path / "new" / "a.h5")
    assert not (tmp_path / "new").exists()


def test_an_environment_that_the_series_contradicts_is_named(tmp_path, series):
    message = error_of("Acrobot-v1", "--out", tmp_path / "a.h5", "--for", series)
    assert "CartPole-v1" in message and "Acrobot-v1" in message


def test_an_existing_file_is_refused(tmp_path):
    (tmp_path / "a.h5").write_text("kept")
    assert "exists already" in error_of("CartPole-v1", "--out", tmp_path / "a.h5", "--samples", 5)
    assert (tmp_path / "a.h5").read_text() == "kept"


def test_each_checkpoint_of_a_series_collects_a_set_and_a_second_run_only_what_is_missing(tmp_path):
    for index in (1, 2):
        checkpoint(tmp_path / "run" / "checkpoints", CARTPOLE, (8,), 2, step=10 * index)
    arguments = ("CartPole-v1", "--out", tmp_path / "sets", "--per-checkpoint", tmp_path / "run", "--samples", 20)
    assert run(*arguments).stdout.count("matched") == 2
    (tmp_path / "sets" / "step_000000010.h5").unlink()
    assert run(*arguments).stdout.startswith(f"{tmp_path}/sets/step_000000010.h5: 20 samples")
    assert "Nothing to collect" in run(*arguments).stderr
    steps = {each.step: each.digest for each in open_series([tmp_path / "run"])[0].checkpoints}
    assert list(steps) == [10, 20]
    for step, digest in steps.items():
        assert open_observations(tmp_path / "sets" / f"step_{step:09d}.h5").attributes["policy"] == digest
    assert "Leave out --policy" in error_of(*arguments, "--policy", "x.safetensors")
