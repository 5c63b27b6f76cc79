from pathlib import Path

import pytest

from probe.errors import ConfigurationError, FileError, UnknownNameError
from probe.trainers.configuration import load, preset_name, presets


@pytest.mark.parametrize("name", ["coinrun", "coinrun-cleanrl", "demo"])
def test_every_shipped_preset_loads_and_says_what_it_is(name: str) -> None:
    assert load(name).summary == presets()[name] != ""


def test_coinrun_is_what_the_seeds_train() -> None:
    coinrun = load("coinrun")
    assert coinrun.total_updates == 3000 and coinrun.update_steps == 1024
    assert coinrun.environment.shift is not None and coinrun.environment.shift.at == (1000, 2000)
    assert coinrun.ppo.minibatch == 64 and coinrun.ppo.passes == 3 and coinrun.ppo.learning_rate == 5e-4
    assert (coinrun.ppo.gamma, coinrun.ppo.gae_lambda, coinrun.ppo.clip) == (0.99, 0.95, 0.2)
    assert coinrun.test_environment.keywords["start_level"] == 10_000
    assert coinrun.test_environment.keywords["num_levels"] == 100
    assert coinrun.environment.keywords["start_level"] == 0


def test_demo_is_a_short_coinrun() -> None:
    demo, coinrun = load("demo"), load("coinrun")
    assert demo.ppo == coinrun.ppo and demo.network == coinrun.network
    assert demo.total_steps == 40_960 and demo.total_steps // demo.checkpoints.every >= 6
    assert demo.environment.shift is not None and coinrun.environment.shift is not None
    assert demo.environment.shift == coinrun.environment.shift.model_copy(update={"at": demo.environment.shift.at})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ppo.learning_rat=1", "Did you mean: learning_rate?"),
        ("pppo.clip=1", "Did you mean: ppo?"),
        ("ppo.learning_rate=fast", "'ppo.learning_rate' is 'fast': input should be a valid number"),
        ("ppo.learning_rate=-1", "'ppo.learning_rate' is -1: input should be greater than 0"),
        ("ppo.optimizer=sgd", "input should be 'adam' or 'adamw'"),
        ("ppo.minibatch=100", "expected a divisor of the 1024 decisions"),
        ("environment.shift.at=[20, 10]", "expected rising numbers"),
        ("environment.shift.at=[0]", "expected rising numbers"),
        ("steps.x=1", "'steps' is a value, not a table"),
        ("steps", "expected table.key=value"),
        ("ppo.=1", "expected table.key=value"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(setting: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load("demo", [setting])
    assert words in str(error.value)


def test_settings_are_read_as_toml_and_bare_words_as_strings() -> None:
    changed = load("demo", ["network.name=impala", "ppo.clip=3e-1", "environment.shift.at=[5]", "test.num_levels=7"])
    assert changed.network.name == "impala" and changed.ppo.clip == 0.3
    assert changed.environment.shift is not None and changed.environment.shift.at == (5,)
    assert changed.test_environment.keywords["num_levels"] == 7


def test_an_unknown_preset_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean: coinrun\?"):
        load("coinrum")


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.toml"):
        load(str(tmp_path / "absent.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("steps = ")
    with pytest.raises(ConfigurationError, match="not TOML"):
        load(str(broken))
    with pytest.raises(FileError):
        load(str(tmp_path / "folder.toml" / "x.toml"))


def test_a_file_builds_on_another_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "first.toml").write_text('base = "demo"\n[ppo]\nclip = 0.1\n[environment.keywords]\nnum_levels = 3')
    (tmp_path / "second.toml").write_text('base = "first.toml"\nsteps = 2048')
    loaded = load(str(tmp_path / "second.toml"))
    assert loaded.steps == 2048 and loaded.ppo.clip == 0.1 and loaded.network.name == "conv64"
    assert loaded.environment.keywords["num_levels"] == 3 and loaded.environment.keywords["paint_vel_info"] is True


def test_another_environment_takes_nothing_over_from_the_base(tmp_path: Path) -> None:
    (tmp_path / "cart.toml").write_text('base = "coinrun"\n[environment]\nid = "CartPole-v1"')
    loaded = load(str(tmp_path / "cart.toml"))
    assert loaded.environment.keywords == {} and loaded.test == {} and loaded.environment.shift is None


def test_steps_are_rounded_up_to_whole_updates() -> None:
    assert load("demo", ["steps=1025"]).total_steps == 2048


def test_a_file_names_its_run() -> None:
    assert preset_name("some/where/cart.toml") == "cart" and preset_name("coinrun") == "coinrun"
