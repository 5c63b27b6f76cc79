"""`probe train`: agents that save checkpoints at intervals."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from probe.trainers.jobs import Ending, Job
    from probe.trainers.outcome import Outcome
    from probe.trainers.variants import Variant

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_EXECUTORS = ("local", "threads")


def train(
    preset: Annotated[str, typer.Argument(help="A shipped preset (`probe list presets`) or a TOML file.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="Mitigation, or several as a+b; repeatable. Default: baseline. `all` stands for the seven "
            "of the usual comparison, one of each kind.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Such as 0-4 or 0,3,7.")] = "0",
    steps: Annotated[str | None, typer.Option("--steps", help="Agent decisions to train for, such as 1M.")] = None,
    checkpoint_every: Annotated[
        str | None, typer.Option("--checkpoint-every", help="Steps between checkpoints, such as 50k.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, such as ppo.learning_rate=1e-4; repeatable.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep",
            help="Values of a setting, such as mitigation.redo.tau=0.01,0.1: a method for each; repeatable, for every "
            "combination.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run. Default: runs/<preset>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what is there; start what is not.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            help="Runs side by side, each computing on one thread unless compute.threads is set. With 1, one after "
            "another with PyTorch's number of threads.",
        ),
    ] = 1,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            help="Where runs side by side are trained: local, a process each, or threads, all in this process, which "
            "share a GPU's context and memory.",
        ),
    ] = "local",
    keep_every: Annotated[
        str | None, typer.Option("--keep-every", help="Keep a resume state for good every so many steps.")
    ] = None,
    keep_state: Annotated[
        list[str] | None, typer.Option("--keep-state", help="Keep the resume state of this step for good; repeatable.")
    ] = None,
    stop_on_collapse: Annotated[
        bool,
        typer.Option(
            "--stop-on-collapse",
            help="End a run, its state saved, where a layer has collapsed. Needs monitor.every, which `pong` sets.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what each run came to as a JSON array.")] = False,
) -> None:
    """Train agents and save checkpoints at intervals.

    Example: `probe train coinrun --method baseline --method specnorm --seeds 0-4 --workers 2`

    Each method and seed gets a folder `<out>/<method>/seed<k>` with run.toml, metrics.csv, TensorBoard events and
    checkpoints. Ctrl-C saves; `--resume` continues bit for bit, passes over what is finished and starts what is not
    there. A run that fails does not stop the others.
    """
    from probe.memory import keep_freed_memory
    from probe.trainers.configuration import preset_name
    from probe.trainers.folder import RunFolder
    from probe.trainers.variants import variants

    keep_freed_memory()  # before anything large is allocated
    _check_execution(workers, executor)
    typed = _as_settings(steps, checkpoint_every, device, keep_every, keep_state or [])
    typed += ["monitor.stop_on_collapse=true"] if stop_on_collapse else []
    chosen = variants(method or ["baseline"], sweep or [])
    folder = out or Path("runs") / preset_name(preset)
    jobs = _jobs(preset, [*(settings or []), *typed], chosen, parse_seeds(seeds), folder, resume)
    if not resume:
        for job in jobs:
            RunFolder(job.path).check_free()
    failures = _train(jobs, workers, executor)
    _report(jobs, failures, as_json)
    if failures:
        _say_failures(jobs, failures)
        # Our fault, 1, goes before the input's, 2.
        raise typer.Exit(min(ending.exit_code for ending in failures.values()))


def parse_seeds(text: str) -> list[int]:
    """Returns the seeds that `0-4` or `0,3,7` stands for, each once, in the order given.

    Raises:
        ConfigurationError: it is no such list.
    """
    from probe.errors import ConfigurationError

    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
        chosen = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not chosen:
            raise ConfigurationError(f"--seeds '{text}': expected seeds such as 0-4 or 0,3,7.")
        seeds |= dict.fromkeys(chosen)
    return list(seeds)


def _as_settings(
    steps: str | None, checkpoint_every: str | None, device: str | None, keep_every: str | None, keep_state: list[str]
) -> list[str]:
    """Returns the options that stand for settings as `table.key=value`."""
    from probe.quantities import parse_count

    counts = {"steps": steps, "checkpoints.every": checkpoint_every, "state.keep_every": keep_every}
    settings = [f"{key}={parse_count(text)}" for key, text in counts.items() if text is not None]
    if device is not None:
        settings.append(f"compute.device={device}")
    if keep_state:
        settings.append(f"state.keep={[parse_count(text) for text in keep_state]}")
    return settings


def _check_execution(workers: int, executor: str) -> None:
    from probe.errors import ConfigurationError

    if workers < 1:
        raise ConfigurationError(f"--workers is {workers}; at least 1 is expected.")
    if executor not in _EXECUTORS:
        raise ConfigurationError(f"--executor '{executor}': expected one of {', '.join(_EXECUTORS)}.")


def _jobs(
    preset: str, settings: list[str], chosen: list[Variant], seeds: list[int], folder: Path, resume: bool
) -> list[Job]:
    """Returns the runs of the grid; a wrong name or setting of any ends here, before one is trained."""
    from probe.trainers.configuration import load, preset_name
    from probe.trainers.jobs import Job
    from probe.trainers.mitigations import make_mitigation
    from probe.trainers.record import RunRecord

    steps_given = any(setting.partition("=")[0].strip() == "steps" for setting in settings)
    jobs: list[Job] = []
    for method, swept in ((variant.method, variant.settings) for variant in chosen):
        configuration = load(preset, [*settings, *swept])
        make_mitigation(method, configuration.mitigation)
        for seed in seeds:
            record = RunRecord.new(folder.name, preset_name(preset), method, seed, configuration)
            path = folder / method / f"seed{seed}"
            jobs.append(Job(path, record, resume, configuration.steps if steps_given else None))
    return jobs


def _train(jobs: list[Job], workers: int, executor: str) -> dict[Path, Ending]:
    """Trains every run to its end that is not there already, and returns how those ended that failed."""
    from probe.commands.console import messages
    from probe.commands.overview import Overview
    from probe.trainers.folder import RunFolder
    from probe.trainers.in_threads import train_in_threads
    from probe.trainers.jobs import train_in_turn
    from probe.trainers.workers import train_side_by_side

    pending: list[Job] = []
    for job in jobs:
        if job.resume and RunFolder(job.path).is_finished(job.record.configuration, job.steps):
            messages.print(f"{job.path}: finished already.")
        else:
            pending.append(job)
    # Slurm and others end a process by SIGTERM: that saves, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    overview = Overview(pending)
    try:
        with overview:
            if workers == 1:
                train_in_turn(pending, overview.tell)
            elif executor == "threads":
                train_in_threads(pending, workers, overview.tell)
            else:
                train_side_by_side(pending, workers, overview.tell)
    except KeyboardInterrupt:
        _say_failures(jobs, overview.failures)
        command = [argument for argument in sys.argv[1:] if argument != "--resume"]
        messages.print(f"Interrupted; the state is saved. Continue with:\n  probe {shlex.join(command)} --resume")
        raise typer.Exit(INTERRUPTED) from None
    return overview.failures


def _report(jobs: list[Job], failures: dict[Path, Ending], as_json: bool) -> None:
    """Prints where each run is and what it came to."""
    from probe.commands.console import console, number

    outcomes = [(job, _outcome(job, job.path in failures)) for job in jobs]
    if as_json:
        described = [
            {
                "path": str(job.path),
                "method": job.record.method,
                "seed": job.record.seed,
                **asdict(outcome),
                "fault": failures[job.path].fault if job.path in failures else None,
            }
            for job, outcome in outcomes
        ]
        print(json.dumps(described, indent=2))
        return
    for job, outcome in outcomes:
        scores = "  ".join(
            f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in outcome.scores.items()
        )
        speed = number(outcome.steps_per_second) if outcome.steps_per_second is not None else "-"
        console.print(f"{job.path}  {outcome.step:,} steps  {scores}  {speed} steps/s")


def _outcome(job: Job, failed: bool) -> Outcome:
    from probe.errors import FileError
    from probe.trainers.outcome import Outcome, read_outcome

    try:
        return read_outcome(job.path)
    except FileError:
        if not failed:
            raise
        return Outcome(step=0)


def _say_failures(jobs: list[Job], failures: dict[Path, Ending]) -> None:
    """Prints why runs failed; a cause that several share once."""
    from probe.trainers.jobs import OUR_FAULT

    runs: dict[str, list[str]] = {}
    for job in jobs:
        if job.path in failures:
            ending = failures[job.path]
            if ending.exit_code == OUR_FAULT or "--debug" in sys.argv:
                print(ending.trace, file=sys.stderr)
            runs.setdefault(str(ending.fault), []).append(job.name)
    for fault, names in runs.items():
        print(f"Error: {', '.join(names)}: {fault}", file=sys.stderr)
