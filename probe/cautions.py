"""What a reader of an analysis must know before trusting its numbers: null values and few samples."""

import json

from probe.modules import FROZEN
from probe.probes.rank import SAMPLES_PER_UNIT
from probe.probes.redundancy import LEAST_SAMPLES
from probe.results import Analysis
from probe.results.rows import Columns

_SPECTRA = frozenset({"rank", "signal"})
"""Probes whose measures go by samples a unit."""
_HALVES = frozenset({"subspace_overlap", "direction_cosine", "surviving_overlap"})
"""Metrics of `signal` that compare two halves of the samples."""
_LIKENESS = frozenset({"cka", "cka_previous"})


def warnings(analysis: Analysis) -> list[str]:
    """Returns what a reader must know before trusting numbers, a sentence or two each."""
    return [*_nonfinite(analysis), *_few_samples(analysis), *_one_task(analysis)]


def _nonfinite(analysis: Analysis) -> list[str]:
    rows = analysis.select(status="nonfinite", aggregation="layer")
    layers: dict[tuple[str, str, int, int], dict[str, None]] = {}
    for run, method, seed, step, layer in zip(
        *(rows[k] for k in ("run", "method", "seed", "step", "layer")), strict=True
    ):
        layers.setdefault((run, method, seed, step), {})[layer] = None
    return [
        f"{run} / {method} / seed {seed}, step {step:,}: NaN or infinite activations in {', '.join(names)}. "
        "Their values are null; look at the checkpoint before it."
        for (run, method, seed, step), names in layers.items()
    ]


def _few_samples(analysis: Analysis) -> list[str]:
    rows = _without_frozen(analysis.select(status="low_sample", aggregation="layer"))
    read = _rows_of_signal(analysis)
    names = ("probe", "metric", "layer", "samples", "units")
    cases = dict.fromkeys(zip(*(rows[name].tolist() for name in names), strict=True))
    return list(dict.fromkeys(_too_few(read, *case) for case in cases))


def _too_few(read: int, probe: str, metric: str, layer: str, samples: int, units: int) -> str:
    """Says what a low row lacks and how many samples it needs, by the rule of its own measure; `read`: by `signal`."""
    counted = f"{layer}: {samples:,} samples for {units:,} units"
    if metric in _HALVES:
        return f"{counted}, so a half of them, as `signal` compares, has fewer than 10 a unit. " + (
            _collect(2 * SAMPLES_PER_UNIT * units, probe, read)
            if samples < 2 * SAMPLES_PER_UNIT * units
            else "Collect more, of more episodes: each is whole in one half."
        )
    if probe in _SPECTRA:
        effect = "null (fewer samples than units)" if samples < units else "biased low (fewer than 10 a unit)"
        return f"{counted}, so ranks are {effect}. {_collect(SAMPLES_PER_UNIT * units, probe, read)}"
    if metric in _LIKENESS:
        # Of two layers the wider one counts, which the row does not name.
        return f"{counted}, too few for `{metric}`. Collect at least 10 for each unit of the widest layer."
    return f"{layer}: {samples:,} samples, too few for what `{probe}` says of it. Collect at least {LEAST_SAMPLES}."


def _collect(samples: int, probe: str, read: int) -> str:
    setting = f", and give `--set signal.rows={samples}`" if probe == "signal" and samples > read else ""
    return f"Collect at least {samples:,}{setting}."


def _rows_of_signal(analysis: Analysis) -> int:
    """Returns how many observations the probe `signal` takes at most; 0 where it was not run."""
    settings = [json.loads(each["parameters"]) for each in analysis.probes if each["name"] == "signal"]
    return int(settings[-1]["rows"]) if settings else 0


def _one_task(analysis: Analysis) -> list[str]:
    asked = len(analysis.select(probe="primacy")["value"]) > 0
    tasks = {each["task"] for each in analysis.data} if asked else set()
    return [
        f"primacy compares observation sets of several tasks, and every set is of task {task}. Collect one of another "
        "with `probe collect ... --set task=NUMBER`, and give both with --data."
        for task in tasks
        if len(tasks) == 1
    ]


def _without_frozen(rows: Columns) -> Columns:
    return {key: column[rows["module"] != FROZEN] for key, column in rows.items()}
