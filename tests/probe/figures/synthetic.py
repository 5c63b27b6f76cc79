"""Analyses and training logs with made-up numbers of a realistic course, written through the real writers."""

import hashlib
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from probe.results import Row, write_analysis

CONV64 = (("conv1", 32, 1024), ("conv2", 64, 256), ("conv3", 128, 64), ("conv4", 128, 16), ("dense", 256, 1))
"""(label, units, elements a unit)."""
TAUS = (0.0, 0.025, 0.1)
SAMPLES = 2560
DATA = "d" * 64


def layer_id(name: str) -> str:
    return f"encoder.{name.replace('conv', 'relu')}" if name.startswith("conv") else f"encoder.relu_{name}"


def write_synthetic_analysis(
    path: Path,
    methods: Sequence[str] = ("baseline", "specnorm"),
    seeds: Sequence[int] = (0,),
    steps: Sequence[int] = (0, 8192, 16384, 24576, 32768, 40960),
    layers: Sequence[tuple[str, int, int]] = CONV64,
    samples: int = SAMPLES,
    nonfinite_step: int | None = None,
    run: str = "demo",
    data: str = DATA,
) -> Path:
    """Writes an analysis in which baseline units die over training, and other methods' units much less."""
    rows: list[Row] = []
    checkpoints: list[dict[str, Any]] = []
    described: list[dict[str, Any]] = []
    arrays = []
    for method in methods:
        for seed in seeds:
            for step in steps:
                digest = hashlib.sha256(f"{run}{method}{seed}{step}".encode()).hexdigest()
                facts = {"run": run, "method": method, "seed": seed, "task": 0, "step": step}
                checkpoints.append(
                    {**facts, "digest": digest, "frames": step, "updates": step // 1024, "algorithm": "ppo"}
                    | {"format": "probe-checkpoint", "path": f"runs/{run}/{method}/seed{seed}"}
                )
                progress = step / max(steps[-1], 1) * (1.0 if method == "baseline" else 0.25)
                of_layers = _layers(layers, progress, np.random.default_rng([seed, *method.encode()]), samples)
                broken = step == nonfinite_step
                arrays.append((digest, data, {layer_id(name): of for name, of in of_layers.items()}))
                rows += _rows(facts, digest, data, layers, of_layers, samples, broken)
                described += [
                    {"checkpoint": digest, "data": data, "layer": layer_id(name), "label": f"encoder.{name}"}
                    | {"module": "encoder", "function": "relu", "position": at, "units": units, "elements": elements}
                    for at, (name, units, elements) in enumerate(layers)
                ]
    table = {
        "checkpoints": checkpoints,
        "data": [_set(data, samples)],
        "probes": [{"name": "dormancy", "version": 1, "parameters": "{}", "dtype": "float64"}],
        "layers": described,
    }
    write_analysis(path, rows, table, arrays, {"numpy": "2.0", "plasticity-probe": "0.1.0"})
    return path


def write_synthetic_run(
    folder: Path,
    method: str = "baseline",
    seed: int = 0,
    updates: int = 40,
    shifts: Sequence[int] = (20,),
    run: str = "demo",
    finished: bool = True,
) -> Path:
    """Writes run.toml and metrics.csv; test returns every fifth update, training returns every second.

    Activations are logged every fourth update; the second layer falls silent at update 20 and is back at 32.
    """
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(tomli_w.dumps({"name": run, "preset": "demo", "method": method, "seed": seed}))
    rng = np.random.default_rng([seed, *method.encode()])
    kinds = ("mean_abs", "fau", "dormant_0.025", "collapsed")
    activations = ",".join(f"activation/{kind}/{layer}" for layer in ("encoder.conv1", "actor.dense") for kind in kinds)
    lines = [f"step,frames,updates,task,return/train,return/recent,return/test,{activations}"]
    level = 0.0
    for update in range(updates):
        task = sum(update >= shift for shift in shifts)
        level = 1.0 if update in shifts else level + 0.15 * (8.0 - level) * rng.uniform(0, 1)
        train = f"{level + rng.normal(0, 0.4):.4f}" if update % 2 and finished else ""
        test = f"{0.7 * level:.4f}" if update % 5 == 0 and finished else ""
        recent = f"{level:.4f}" if finished else ""
        silent = 20 <= update < 32
        readings = f"{0.1 + update / 1000},0.5,0.25,0,{0 if silent else 2},0.4,{1 if silent else 0.5},{silent:d}"
        readings = readings if update % 4 == 0 and finished else ",,,,,,,"
        lines.append(f"{update * 1024},{update * 1024},{update},{task},{train},{recent},{test},{readings}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def _set(data: str, samples: int) -> dict[str, Any]:
    facts = {"digest": data, "path": "observations.h5", "kind": "pooled"}
    return {**facts, "environment": "procgen:coinrun", "samples": samples, "task": 0}


def _layers(
    layers: Sequence[tuple[str, int, int]], progress: float, rng: np.random.Generator, samples: int
) -> dict[str, dict[str, NDArray[Any]]]:
    """Units die in a fixed order, deeper layers more; the same units at every checkpoint of a seed."""
    found = {}
    for depth, (name, units, _) in enumerate(layers):
        order = rng.permutation(units)
        strength = np.abs(rng.normal(1.0, 0.3, units)) + 0.05
        rates = rng.beta(2, 2, units) * (1 - 0.6 * progress)
        gone = order[: round(units * 0.05 * depth * (0.2 + progress * 2))]
        turned = round(len(gone) * (0.4 - 0.3 * progress))  # these come back to life, others follow
        gone = np.concatenate([gone[turned:], order[len(gone) + 3 * turned : len(gone) + 4 * turned]])
        strength[gone], rates[gone] = 0.01 * (depth > 2), 0.0 if depth < 3 else 0.004
        rates[order[: len(gone) // 2]] = 0.0
        of: dict[str, NDArray[Any]] = {"mean_abs": strength, "activation_rate": rates}
        if samples >= units:
            values = 60 * np.exp(-np.arange(units) / units * (3 + 9 * progress)) * np.where(np.arange(units), 1, 6)
            of["singular_values"] = values
            of["singular_values_centred"] = np.sort(values * rng.uniform(0.7, 1, units))[::-1]
        found[name] = of
    return found


def _rank(values: NDArray[Any]) -> float:
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _rows(
    facts: dict[str, Any],
    digest: str,
    data: str,
    layers: Sequence[tuple[str, int, int]],
    of_layers: dict[str, dict[str, NDArray[Any]]],
    samples: int,
    broken: bool,
) -> list[Row]:
    rows: list[Row] = []

    def add(
        probe: str, metric: str, aggregation: str, module: str, name: str, value: float, units: int,
        status: str = "ok", threshold: float = nan,
    ) -> None:  # fmt: skip
        rows.append(
            Row(
                **facts, reference_step=-1, arm="", draw=-1, checkpoint=digest, data=data, module=module, probe=probe,
                layer=layer_id(name) if name else "", metric=metric, aggregation=aggregation, samples=samples,
                units=units, value=nan if broken else value, threshold=threshold,
                status="nonfinite" if broken and status != "not_applicable" else status,
            )
        )  # fmt: skip

    def everywhere(probe: str, metric: str, values: dict[str, float], weights: list[int], threshold: float) -> None:
        total = sum(units for _, units, _ in layers)
        micro = float(np.average(list(values.values()), weights=weights))
        for (name, units, _), value in zip(layers, values.values(), strict=True):
            add(probe, metric, "layer", "encoder", name, value, units, threshold=threshold)
        for module in ("encoder", "all"):
            add(probe, metric, "micro", module, "", micro, total, threshold=threshold)
            add(probe, metric, "macro", module, "", float(np.mean(list(values.values()))), total, threshold=threshold)

    units = [each for _, each, _ in layers]
    for tau in TAUS:
        dormant = {n: float((a["mean_abs"] <= tau * a["mean_abs"].mean()).mean()) for n, a in of_layers.items()}
        everywhere("dormancy", "dormant_fraction", dormant, units, tau)
    rates = {name: arrays["activation_rate"] for name, arrays in of_layers.items()}
    everywhere("activity", "dead_fraction", {n: float((r == 0).mean()) for n, r in rates.items()}, units, nan)
    elements = [width * each for _, width, each in layers]
    everywhere("fau", "fau", {n: float(r.mean()) for n, r in rates.items()}, elements, nan)
    for module in ("actor", "critic"):
        for how in ("micro", "macro"):
            add("fau", "fau", how, module, "", nan, 0, "not_applicable")
    for name, width, _ in layers:
        for suffix in ("", "_centred"):
            values = of_layers[name].get(f"singular_values{suffix}")
            status = "ok" if samples >= 10 * width else "low_sample"
            value = _rank(values) if values is not None else nan
            add("rank", f"effective_rank{suffix}", "layer", "encoder", name, value, width, status)
    return rows
