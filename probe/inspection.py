"""What a file or folder of ours holds, and whether it is whole."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe.capture import Layer
from probe.checkpoints import Hints, Series, is_checkpoint, open_checkpoint, open_series
from probe.checkpoints.base import NONE
from probe.checkpoints.native import NativeCheckpoint, read_header
from probe.errors import FileError, ProbeError
from probe.inputs import blank_observation
from probe.layers import check_modules, hidden_layers
from probe.modules import ModuleMap
from probe.recorded import is_recorded
from probe.recordings import is_image

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


def describe(path: Path, verify: bool = False, hints: Hints | None = None) -> Description:
    """Describes a checkpoint, series, run folder, observation set, analysis, report or state.

    Args:
        path: The file or folder.
        verify: Recompute every digest, which reads every byte.
        hints: What the user says about checkpoints of other libraries.

    Raises:
        FileError: there is nothing, or it is nothing of ours, or it cannot be opened at all.
    """
    if not path.exists():
        raise FileError(f"{path}: there is no such file or folder.")
    if path.is_dir():
        return _folder(path, verify, hints)
    if path.suffix == ".safetensors" and path.parent.name == "state":
        return _state(path)
    if is_checkpoint(path):
        return _checkpoint(path, verify, hints)
    return _observations(path, verify) if is_recorded(path) else _hdf5(path, verify)


def _folder(path: Path, verify: bool, hints: Hints | None) -> Description:
    if (path / "run.toml").exists():
        return _run(path, verify)
    if any(path.glob("step_*.h5")):
        return _matched(path, verify)
    if is_checkpoint(path):
        return _checkpoint(path, verify, hints)
    from probe.report.folder import MANIFEST  # loads matplotlib

    if (path / MANIFEST).is_file():
        return _report(path)
    if any(is_image(each) for each in path.iterdir()):
        return _observations(path, verify)
    return _series(open_series([path], hints), verify)


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
        if notes := each.checkpoints[0].notes():
            facts[f"{each.label}, notes"] = "; ".join(notes)
        if steps[0] != 0 and isinstance(each.checkpoints[0], NativeCheckpoint):
            problems.append(f"{each.path}: step 0, the initial network, is missing; there is no baseline.")
        if verify:
            problems += [_changed(checkpoint.path) for checkpoint in each.checkpoints if not checkpoint.verify()]
    return Description("checkpoint series", facts, problems)


def _checkpoint(path: Path, verify: bool, hints: Hints | None) -> Description:
    checkpoint = open_checkpoint(path, hints)
    modules, shape = checkpoint.modules, checkpoint.observation_shape
    facts = {
        **{name: value for name, value in checkpoint.description.items() if value not in ("", NONE)},
        **checkpoint.facts(),
        "modules": ", ".join(modules.names),
    }
    if shape is not None:
        blank = checkpoint.prepare(blank_observation(shape))
        check_modules([(checkpoint, blank)])
        facts["nonlinearities"] = _counted(modules, [each.layer for each in hidden_layers(checkpoint, blank)])
    return Description("checkpoint", facts, [_changed(path)] if verify and not checkpoint.verify() else [])


def _counted(modules: ModuleMap, layers: Sequence[Layer]) -> str:
    """Returns how many nonlinearities of which kind each module has, and where none was found."""
    found: dict[str, list[Layer]] = {module: [] for module in modules.names}
    for layer in layers:
        found.setdefault(modules.module_of(layer.id), []).append(layer)
    parts = []
    for module, inside in found.items():
        counts = Counter(layer.function for layer in inside)
        if counts:
            parts.append(f"{module}: {', '.join(f'{count} {function}' for function, count in counts.items())}")
    empty = ", ".join(module for module, inside in found.items() if not inside)
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
    return _observations(path, verify)


def _observations(path: Path, verify: bool) -> Description:
    from probe.observations import open_observations

    observations = open_observations(path)
    facts = {
        "samples": observations.samples,
        "observation shape": observations.observation_shape,
        **{key: value for key, value in observations.attributes.items() if key not in ("format", "format_version")},
    }
    if observations.notes:
        facts["notes"] = "; ".join(observations.notes)
    return Description("observation set", facts, [_changed(path)] if verify and not observations.verify() else [])


def _changed(path: Path) -> str:
    return f"{path}: its content does not match its digest. It was changed or damaged; take another copy."
