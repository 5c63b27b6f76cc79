"""What a file or folder of ours holds, and whether it is whole."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probe.capture import Layer, capture
from probe.checkpoints import Series, open_checkpoint, open_series
from probe.checkpoints.native import NativeCheckpoint, read_header
from probe.errors import FileError, ProbeError
from probe.inputs import blank_observation
from probe.modules import ModuleMap

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass
class Description:
    """Kind, facts in reading order, and everything that is wrong."""

    kind: str
    facts: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def describe(path: Path, verify: bool = False) -> Description:
    """Describes a checkpoint, series, run folder, observation set, analysis, report or state.

    Args:
        path: The file or folder.
        verify: Recompute every digest, which reads every byte.

    Raises:
        FileError: there is nothing, or it is nothing of ours, or it cannot be opened at all.
    """
    if not path.exists():
        raise FileError(f"{path}: there is no such file or folder.")
    if path.is_dir():
        return _folder(path, verify)
    if path.suffix == ".safetensors":
        return _state(path) if path.parent.name == "state" else _checkpoint(path, verify)
    return _hdf5(path, verify)


def _folder(path: Path, verify: bool) -> Description:
    if (path / "run.toml").exists():
        return _run(path, verify)
    if any(path.glob("step_*.h5")):
        return _matched(path, verify)
    from probe.report.folder import MANIFEST  # loads matplotlib

    return _report(path) if (path / MANIFEST).is_file() else _series(open_series([path]), verify)


def _matched(path: Path, verify: bool) -> Description:
    from probe.matched import open_matched

    matched = open_matched(path)
    facts = {
        "sets": len(list(path.glob("*.h5"))),
        "samples of each": matched.samples,
        "observation shape": matched.observation_shape,
        "environment": matched.attributes["environment"],
    }
    return Description("matched observation sets", facts, [_changed(path)] if verify and not matched.verify() else [])


def _report(path: Path) -> Description:
    from probe.report.folder import report_files

    files = report_files(path)
    problems = [f"{path / name}: {what}." for name, what in files.items() if what != "whole"]
    return Description("report", {"files": len(files), "page": str(path / "index.html")}, problems)


def _run(path: Path, verify: bool) -> Description:
    try:
        settings = tomllib.loads((path / "run.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path / 'run.toml'}: cannot be read ({error}).") from error
    top = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    described = _series(open_series([path]), verify) if any(path.glob("checkpoints/*")) else Description("", {})
    metrics = path / "metrics.csv"
    rows = max(0, sum(1 for _ in metrics.open()) - 1) if metrics.exists() else 0
    states = sorted(each.name for each in path.glob("state/*.safetensors"))
    facts = {**top, **described.facts, "metrics.csv rows": rows, "resume states": ", ".join(states) or "none"}
    problems = described.problems + [
        f"{state}: {found}" for state in states if (found := _broken(path / "state" / state)) is not None
    ]
    return Description("run folder", facts, problems)


def _broken(path: Path) -> str | None:
    try:
        read_header(path)
    except ProbeError as error:
        return str(error)
    return None


def _series(series: Sequence[Series], verify: bool) -> Description:
    facts: dict[str, Any] = {}
    problems = []
    for each in series:
        steps = [checkpoint.step for checkpoint in each.checkpoints]
        facts[each.label] = f"{len(steps)} checkpoints, steps {steps[0]:,} to {steps[-1]:,}"
        if steps[0] != 0:
            problems.append(f"{each.path}: step 0, the initial network, is missing; there is no baseline.")
        if verify:
            problems += [_changed(c.path) for c in each.checkpoints if not NativeCheckpoint(c.path).verify()]
    return Description("checkpoint series", facts, problems)


def _checkpoint(path: Path, verify: bool) -> Description:
    checkpoint = open_checkpoint(path)
    metadata = checkpoint.metadata
    tensors = checkpoint.tensors()
    blank = blank_observation(metadata.network.observation_shape)
    found = layers_by_module(checkpoint.network(), checkpoint.modules, blank)
    facts = {
        **checkpoint.description,
        "network": metadata.network.name,
        "observation shape": metadata.network.observation_shape,
        "actions": metadata.network.actions.size,
        "modules": ", ".join(metadata.network.modules),
        "nonlinearities": _counted(found),
        "environment": metadata.environment.get("id", ""),
        "acting": metadata.acting,
        "interventions": interventions(metadata.interventions),
        "tensors": len(tensors),
        "parameters and buffers": sum(tensor.numel() for tensor in tensors.values()),
        "versions": metadata.versions,
    }
    return Description("checkpoint", facts, [_changed(path)] if verify and not checkpoint.verify() else [])


@torch.no_grad()
def interventions(done: Sequence[Mapping[str, Any]]) -> str:
    """Returns how often and when each method stepped in; the metadata have every unit and layer."""
    steps: dict[str, list[int]] = {}
    for each in done:
        steps.setdefault(each["method"], []).append(each["step"])
    parts = [
        f"{method} {len(at)} times, steps {at[0]:,} to {at[-1]:,}" if len(at) > 1 else f"{method} at step {at[0]:,}"
        for method, at in steps.items()
    ]
    return "; ".join(parts) or "none"


def layers_by_module(network: nn.Module, modules: ModuleMap, batch: Tensor) -> dict[str, list[Layer]]:
    """Runs a batch and returns the nonlinearities found in each module, in call order; an empty list where none is."""
    found: dict[str, list[Layer]] = {module: [] for module in modules.names}

    def note(layer: Layer, *_: Any) -> None:
        found.setdefault(modules.module_of(layer.id), []).append(layer)

    with capture(network, note) as outputs:
        network(batch)
    return {module: [each for each in layers if each.id not in outputs.layers] for module, layers in found.items()}


def _counted(found: Mapping[str, Sequence[Layer]]) -> str:
    """Returns how many nonlinearities of which kind each module has, and where none was found."""
    parts = []
    for module, layers in found.items():
        counts = Counter(layer.function for layer in layers)
        if counts:
            parts.append(f"{module}: {', '.join(f'{count} {function}' for function, count in counts.items())}")
    empty = ", ".join(module for module, layers in found.items() if not layers)
    if empty:
        parts.append(f"none found in {empty} (linear, or to declare with `probe analyze --activation NAME=FUNCTION`)")
    return "; ".join(parts)


def _state(path: Path) -> Description:
    header = read_header(path)
    try:
        trainer = json.loads(header["state"])["trainer"]
        facts = {name: trainer[name] for name in ("step", "frames", "updates", "task")}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise FileError(f"{path}: a safetensors file, but no state of `probe train`.") from error
    return Description("resume state", {"format": header.get("format", ""), **facts})


def _hdf5(path: Path, verify: bool) -> Description:
    import h5py

    from probe.observations import open_observations
    from probe.results import open_analysis
    from probe.results.writing import FORMAT

    try:
        with h5py.File(path, "r") as file:
            kind = str(file.attrs.get("format", ""))
    except OSError as error:
        raise FileError(f"{path}: not a whole HDF5 or safetensors file. Nothing of ours, or cut short.") from error
    if kind == FORMAT:
        with open_analysis(path) as analysis:
            facts: dict[str, Any] = {"rows": len(analysis.rows["run"]), "checkpoints": len(analysis.checkpoints)}
            facts["series"] = ", ".join(f"{run} / {method} / seed {seed}" for run, method, seed in analysis.series())
            facts["observation sets"] = ", ".join(each["path"] for each in analysis.data)
            facts["probes"] = ", ".join(f"{each['name']} v{each['version']}" for each in analysis.probes)
            facts["versions"] = analysis.versions
            return Description("analysis", facts, [_changed(path)] if verify and not analysis.verify() else [])
    observations = open_observations(path)
    facts = {
        "samples": observations.samples,
        "observation shape": observations.observation_shape,
        **{key: value for key, value in observations.attributes.items() if key not in ("format", "format_version")},
    }
    return Description("observation set", facts, [_changed(path)] if verify and not observations.verify() else [])


def _changed(path: Path) -> str:
    return f"{path}: its content does not match its digest. It was changed or damaged; take another copy."
