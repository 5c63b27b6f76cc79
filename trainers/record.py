"""run.toml: everything that a run is made with, and what its results are bit-equal under."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w
import torch
from pydantic import Field

from probe.errors import ConfigurationError
from probe.files import replace_on_success
from probe.models import FrozenModel, validated
from probe.trainers.configuration import Configuration, read_toml
from probe.trainers.machine import computes_bfloat16, processor_family, versions
from probe.trainers.settings import ComputeSettings, StateSettings

NAME = "run.toml"
_IMAGES = ("conv64", "impala", "nature")
_STOP = "monitor.stop_on_collapse"
_NOT_COMPARED = ("steps", "summary", "state", "compute", _STOP)
"""Settings that a resume may change, or that say nothing about the training; `compute` is compared by itself."""


class RunRecord(FrozenModel):
    """One method and seed of a run."""

    name: str
    """The run's name; its methods and seeds share it."""
    preset: str
    method: str
    """Mitigations, and the settings of `configuration` that tell it from the other methods of a sweep."""
    seed: int = Field(ge=0)
    processor: str
    """Vendor, family and model."""
    versions: dict[str, str]
    configuration: Configuration

    @classmethod
    def new(cls, name: str, preset: str, method: str, seed: int, configuration: Configuration) -> "RunRecord":
        """Makes a record on this machine."""
        return cls(
            name=name,
            preset=preset,
            method=method,
            seed=seed,
            processor=processor_family(),
            versions=versions(),
            configuration=configuration,
        )

    def resolved(self) -> "RunRecord":
        """Returns the record with what `auto` and 0 mean on this machine.

        Raises:
            ConfigurationError: CUDA is asked for and is not there.
        """
        compute = _resolved(self.configuration)
        return self.model_copy(update={"configuration": self.configuration.model_copy(update={"compute": compute})})

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Reads a run folder's run.toml.

        Raises:
            FileError: it cannot be read.
            ConfigurationError: it holds something unknown.
        """
        path = folder / NAME
        data = read_toml(path)
        own = {key: data.pop(key) for key in list(data) if key in cls.model_fields}
        return validated(cls, {**own, "configuration": validated(Configuration, data, str(path))}, str(path))

    def write(self, folder: Path) -> None:
        """Writes run.toml, whole or not at all.

        Raises:
            FileError: the folder cannot be written.
        """
        data = self.model_dump(mode="json", exclude_none=True, exclude={"configuration"})
        data |= self.configuration.model_dump(mode="json", exclude_none=True)
        with replace_on_success(folder / NAME) as partial:
            partial.write_text(tomli_w.dumps(data), encoding="utf-8")

    def continued(self, wanted: Configuration, steps: int | None) -> "RunRecord":
        """Returns the record to resume with.

        Args:
            wanted: what preset and settings say now, not resolved; its state settings count unless they are defaults,
                and whether it stops on a collapse.
            steps: where to train to now, or None for where the run went.

        Raises:
            ConfigurationError: a setting differs from the run's; the message names it. Or `steps` moves the end of a
                schedule.
        """
        for key, (was, now) in _differences(self.configuration, wanted).items():
            raise ConfigurationError(
                f"--resume: '{key}' is {was!r} in this run and {now!r} now. Leave it as it was, or train anew with "
                "another --out."
            )
        if steps not in (None, self.configuration.steps) and self.configuration.learning.schedule == "linear":
            raise ConfigurationError(
                f"--steps {steps}: this run's learning rate falls to 0 at step {self.configuration.steps}. Train anew "
                "with another --out."
            )
        state = wanted.state if wanted.state != StateSettings() else self.configuration.state
        stops = {"stop_on_collapse": wanted.monitor.stop_on_collapse}
        monitor = self.configuration.monitor.model_copy(update=stops)
        changes = {"state": state, "monitor": monitor, **({} if steps is None else {"steps": steps})}
        return self.model_copy(update={"configuration": self.configuration.model_copy(update=changes)})

    def machine_notes(self) -> list[str]:
        """Returns what differs on this machine, so that results are not bit-equal to the run's so far."""
        here = {"processor": processor_family(), **versions()}
        was = {"processor": self.processor, **self.versions}
        return [
            f"{name} was {was.get(name, 'absent')} and is {here.get(name, 'absent')}: not bit for bit the same run."
            for name in sorted(here.keys() | was.keys())
            if here.get(name) != was.get(name)
        ]


def _resolved(configuration: Configuration) -> ComputeSettings:
    compute = configuration.compute
    device = compute.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("--device cuda: PyTorch finds no CUDA device here. Use --device cpu.")
    precision = compute.precision
    if precision == "auto":
        # Values of actions differ by less than bfloat16's steps of half a percent.
        rounded = configuration.network.name in _IMAGES and configuration.algorithm != "dqn"
        precision = "bfloat16" if rounded and computes_bfloat16(device) else "float32"
    threads = compute.threads or torch.get_num_threads()
    return compute.model_copy(update={"device": device, "precision": precision, "threads": threads})


def _differences(was: Configuration, now: Configuration) -> dict[str, tuple[Any, Any]]:
    left, right = dict(_flat(was.model_dump())), dict(_flat(now.model_dump()))
    keys = [key for key in left | right if not {key, key.split(".")[0]} & {*_NOT_COMPARED}]
    # What is `auto` or 0 now means whatever it meant then.
    keys += [f"compute.{name}" for name in ("device", "precision") if right[f"compute.{name}"] != "auto"]
    keys += ["compute.threads"] if now.compute.threads else []
    return {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)}


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
