"""What a training run is, as validated data: shipped presets, TOML files and settings from the command line."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from probe.datasets.environments import EnvironmentSpec
from probe.errors import ConfigurationError, FileError, UnknownNameError
from probe.files import reason
from probe.models import FrozenModel, validated
from probe.trainers.architecture import NetworkSettings
from probe.trainers.settings import (
    ActingSettings,
    CheckpointSettings,
    ComputeSettings,
    DiagnosticsSettings,
    DqnSettings,
    EvaluationSettings,
    LearningSettings,
    MonitorSettings,
    PpoSettings,
    StateSettings,
    SupervisedSettings,
    Table,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PRESETS = Path(__file__).parent / "presets"
_BASE = "base"


class Configuration(FrozenModel):
    """Everything that a run's result follows from, but the method and the seed."""

    summary: str = ""
    """One line that says what the preset is."""
    algorithm: Literal["dqn", "ppo", "supervised"] = "ppo"
    """The table of this name, and no other algorithm's, is there."""
    steps: int = Field(ge=1)
    """Agent decisions to train for, summed over the environments; rounded up to whole updates."""
    environment: EnvironmentSpec
    test: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Environment keywords that evaluation changes, such as another `start_level` for unseen levels."""
    network: NetworkSettings
    dqn: DqnSettings | None = None
    ppo: PpoSettings | None = None
    supervised: SupervisedSettings | None = None
    acting: ActingSettings = ActingSettings()
    evaluation: EvaluationSettings
    diagnostics: DiagnosticsSettings
    monitor: MonitorSettings = MonitorSettings()
    checkpoints: CheckpointSettings
    state: StateSettings = StateSettings()
    compute: ComputeSettings = ComputeSettings()
    mitigation: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of mitigations, by the mitigation's name."""

    @property
    def learning(self) -> LearningSettings:
        """The algorithm's own table."""
        table = self._tables[self.algorithm]
        assert table is not None  # `_fits` has seen to it
        return table

    @property
    def _tables(self) -> dict[str, LearningSettings | None]:
        return {"dqn": self.dqn, "ppo": self.ppo, "supervised": self.supervised}

    @model_validator(mode="after")
    def _fits(self) -> "Configuration":
        given = [name for name, table in self._tables.items() if table is not None]
        if given != [self.algorithm]:
            raise ConfigurationError(
                f"'algorithm' is '{self.algorithm}' and there are settings of {given or 'none'}: a run has one "
                f"algorithm's table, here [{self.algorithm}]."
            )
        if self.algorithm == DqnSettings.name and self.evaluation.policy == "sample":
            raise ConfigurationError(
                "'evaluation.policy' is 'sample': values of actions are no probabilities. Set it to greedy or "
                "epsilon-greedy."
            )
        return self

    def table(self, kind: type[Table]) -> Table:
        """Returns the algorithm's table, which has to be of a kind.

        Raises:
            ConfigurationError: the algorithm is another.
        """
        learning = self.learning
        if not isinstance(learning, kind):
            raise ConfigurationError(
                f"A method needs settings of algorithm '{kind.name}'; the run's is '{self.algorithm}'. Leave it out."
            )
        return learning

    @property
    def update_steps(self) -> int:
        """Steps of one update."""
        return self.learning.update_steps

    @property
    def total_updates(self) -> int:
        """Updates of the whole run."""
        return -(-self.steps // self.update_steps)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run: whole updates."""
        return self.total_updates * self.update_steps

    @property
    def tests_the_same_returns(self) -> bool:
        """Whether evaluation has the rewards and the ends of episodes that training has; levels may differ."""
        return not {"reward_clip", "episodic_life"} & self.test.keys()

    @property
    def test_environment(self) -> EnvironmentSpec:
        """The environment of evaluation."""
        return self.environment.model_copy(update={"keywords": {**self.environment.keywords, **self.test}})


def presets() -> dict[str, str]:
    """Returns the shipped presets with a line on each."""
    return {path.stem: str(read_toml(path).get("summary", "")) for path in sorted(_PRESETS.glob("*.toml"))}


def load(preset: str, settings: Sequence[str] = ()) -> Configuration:
    """Reads a preset and applies settings to it.

    Args:
        preset: a shipped name, or a TOML file; a file may name another preset as its `base`.
        settings: `table.key=value` each, the value as in TOML; a bare word is a string.

    Raises:
        UnknownNameError: no such preset.
        FileError: the TOML file is not there or cannot be read.
        ConfigurationError: an unknown key, or a value that does not fit.
    """
    data = _read(preset, Path())
    for setting in settings:
        _apply(data, setting)
    return validated(Configuration, data, f"Preset '{preset}'" + (" with --set" if settings else ""))


def preset_name(preset: str) -> str:
    """Returns what a run of a preset is called: the shipped name, or the TOML file's without its ending."""
    return Path(preset).stem if preset.endswith(".toml") else preset


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        FileError: it is not there or cannot be read.
        ConfigurationError: it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)}). Give a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML ({error}).") from error


def parse_value(text: str) -> Any:
    """Returns the value that TOML reads from `text`; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read(preset: str, folder: Path) -> dict[str, Any]:
    shipped = _PRESETS / f"{preset}.toml"
    if preset.endswith(".toml"):
        path = folder / preset
    elif shipped.is_file():
        path = shipped
    else:
        raise UnknownNameError("preset", preset, presets())
    data = read_toml(path)
    if _BASE not in data:
        return data
    base = _read(str(data.pop(_BASE)), path.parent)
    return _merged(base, data)


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one preset's tables over another's; another environment id brings its own environment and test tables."""
    merged = dict(base)
    new_id = changes.get("environment", {}).get("id", None)
    if new_id is not None and new_id != base.get("environment", {}).get("id"):
        merged |= {"environment": {}, "test": {}}
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _apply(data: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    *tables, last = key.strip().split(".")
    if not equals or not last:
        raise ConfigurationError(f"--set '{setting}': expected table.key=value, such as ppo.learning_rate=1e-4.")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise ConfigurationError(f"--set '{setting}': '{table}' is a value, not a table of settings.")
    data[last] = parse_value(text.strip())
