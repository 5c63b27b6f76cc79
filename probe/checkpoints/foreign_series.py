"""Files of other libraries -> series: which step each is at, which run it is of, and whether they belong together."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from probe.checkpoints.base import Series
from probe.checkpoints.foreign import ForeignCheckpoint
from probe.checkpoints.hints import Hints
from probe.checkpoints.identity import Identity
from probe.checkpoints.layout import Inputs, Layout
from probe.checkpoints.normalisation import Normalisation, read_vecnormalize
from probe.checkpoints.steps import step_of_name, template
from probe.errors import FileError

_GENERIC = re.compile(r"checkpoints?|ckpts?|models?|weights|saved_models|snapshots?|logs?|version_\d+", re.IGNORECASE)
"""Folders that say nothing about the run."""
_SEED = re.compile(r"(?:^|[_\W])seed[_=-]?(\d+)", re.IGNORECASE)
_CLEANRL = re.compile(r"(?P<run>.+)__(?P<method>.+)__(?P<seed>\d+)__\d{6,}")
"""Folders of CleanRL's runs: environment, script, seed, time."""
_NAMED = 3
"""Files that a message names."""


@dataclass(frozen=True)
class Named:
    """The files of one series, and what they share: their folder, or what `--series-by` matched."""

    key: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class _Placed:
    checkpoint: ForeignCheckpoint
    step: int
    numbered: bool
    """Whether the file's name says a step."""

    @property
    def name(self) -> str:
        return self.checkpoint.path.name

    @property
    def is_best(self) -> bool:
        """Whether the name says that this is the run's best, as callbacks for evaluation write it."""
        return "best" in _stem(self.checkpoint.path).lower()


def foreign_series(groups: Sequence[Named], hints: Hints) -> list[Series]:
    """Opens the series of other libraries.

    Raises:
        FileError: a file is damaged or has no step, or the files of a series do not belong together.
    """
    opened = [_placed(group, hints) for group in groups]
    runs = _runs(groups, hints)
    return [_series(group, placed, run) for group, placed, run in zip(groups, opened, runs, strict=True)]


def _placed(group: Named, hints: Hints) -> list[_Placed]:
    """Opens the files of a series and finds the step of each."""
    placed, without = [], []
    for file in group.files:
        checkpoint = ForeignCheckpoint(file, hints)
        named = step_of_name(file.name if file.is_dir() else file.stem)
        step = next(
            (each for each in (checkpoint.stored_step, named, checkpoint.stored_count) if each is not None), None
        )
        if step is None and len(group.files) > 1:
            without.append(file.name)
        placed.append(_Placed(checkpoint, step or 0, named is not None))
    if without:
        raise FileError(
            f"{group.key}: neither content nor name of {_few(without)} says a step. "
            "Rename them as step_500.pt, or give the others alone."
        )
    if hints.series_by is None:
        _refuse_mixed(group.key, placed)
    return placed


def _refuse_mixed(folder: str, placed: Sequence[_Placed]) -> None:
    """Refuses the files of several runs."""
    kinds: dict[str, Callable[[_Placed], str | None]] = {
        "names": lambda each: template(_stem(each.checkpoint.path)) if each.numbered else None,
        "seeds": lambda each: match[1] if (match := _SEED.search(_stem(each.checkpoint.path))) else None,
        "formats": lambda each: each.checkpoint.format,
        "algorithms": lambda each: each.checkpoint.algorithm,
        "networks": lambda each: each.checkpoint.shapes,
    }
    for what, of in kinds.items():
        groups: dict[str, list[str]] = {}
        for each in placed:
            value = of(each)
            if value is not None:
                groups.setdefault(value, []).append(each.name)
        if len(groups) > 1:
            (_, ones), (_, others), *_ = groups.items()
            raise FileError(
                f"{folder}: several runs are mixed, by their {what}: {_few(ones)} and {_few(others)}. "
                "Say what the files of one series share with --series-by REGEX, or give the files of one run."
            )


def _series(group: Named, placed: Sequence[_Placed], run: tuple[str, str, int | None]) -> Series:
    kept, remarks = _without_copies(placed)
    ordered = sorted(kept, key=lambda each: each.step)
    for earlier, later in pairwise(ordered):
        if earlier.step == later.step:
            raise FileError(
                f"{group.key}: {earlier.checkpoint.path.name} and {later.checkpoint.path.name} are both at step "
                f"{earlier.step:,}. Give one of them, or say what the files of one series share with --series-by REGEX."
            )
    name, script, seed = run
    first = ordered[0].checkpoint
    method = script or first.algorithm or first.format
    chosen = seed if seed is not None else first.stored_seed or 0
    normalisations, said = _normalisations([each.step for each in ordered], first.path.parent, first.hints)
    layouts: dict[Inputs, Layout] = {}
    for each in ordered:
        identity = Identity(name, method, chosen, each.step)
        each.checkpoint.identify(identity, layouts, normalisations.get(each.step), (*remarks, *said))
    checkpoints = tuple(each.checkpoint for each in ordered)
    return Series(first.path.parent, name, method, chosen, checkpoints)


def _normalisations(
    steps: Sequence[int], folder: Path, hints: Hints
) -> tuple[dict[int, Normalisation], tuple[str, ...]]:
    """Returns how an agent saw its observations at each step, and what the user should know of that.

    What Stable-Baselines3 and rl-zoo3 keep beside checkpoints are pickles, which stay closed without the user's word.
    """
    if hints.mean is not None and hints.variance is not None:
        return dict.fromkeys(steps, Normalisation(hints.mean, hints.variance, "--obs-mean, --obs-var")), ()
    found = sorted((*folder.glob("*vecnormalize*.pkl"), *folder.glob("*/vecnormalize.pkl")))
    if not found:
        return {}, ()
    if not hints.trust_pickle:
        beside = f"{found[0].name} lies beside it, so the agent saw normalised observations"
        return {}, (f"{beside}: give --obs-mean and --obs-var, or --trust-pickle to read it",)
    by_step = {step_of_name(path.stem): path for path in found}
    general = by_step.get(None) or by_step[max(step for step in by_step if step is not None)]
    chosen = {step: by_step.get(step, general) for step in steps}
    read = {path: read_vecnormalize(path) for path in dict.fromkeys(chosen.values())}
    known = {step: statistics for step, path in chosen.items() if (statistics := read[path]) is not None}
    others = sorted(step for step in known if step not in by_step)
    when = f", at steps {others[0]:,} to {others[-1]:,} with {general.name}, saved at another time" if others else ""
    return known, (f"observations are normalised with the statistics that lie beside it{when}",) if known else ()


def _without_copies(placed: Sequence[_Placed]) -> tuple[list[_Placed], tuple[str, ...]]:
    """Leaves out `best_model`, `last` and the like where they are at the step of a file that says its step.

    A run's best and its last may also both say none, and be at the same one: then the best is left out.
    """
    numbered = {each.step: each.name for each in placed if each.numbered}
    others = {each.step: each.name for each in placed if not each.is_best}
    kept, remarks = [], []
    for each in placed:
        same = {**others, **numbered} if each.is_best else numbered
        at_its_step = None if each.numbered else same.get(each.step)
        if at_its_step is None:
            kept.append(each)
        else:
            remarks.append(f"{each.name} is left out: {at_its_step} is at its step, too")
    return kept, tuple(remarks)


def _runs(groups: Sequence[Named], hints: Hints) -> list[tuple[str, str, int | None]]:
    """Returns run, method and seed of each series; as much of the paths as tells the runs apart."""
    if hints.series_by is not None:
        return [(group.key, "", _seed_of(group.key)) for group in groups]
    paths = [Path(group.key).resolve() for group in groups]
    folders = [_telling(path.parts) for path in paths]
    for length in range(1, max(map(len, folders), default=0) + 1):
        named = [_run("/".join(parts[-length:]), path) for parts, path in zip(folders, paths, strict=True)]
        if len(set(named)) == len(named):
            return named
    return [(group.key, "", _seed_of(group.key)) for group in groups]


def _telling(parts: tuple[str, ...]) -> list[str]:
    """Returns the parts of a path that say something about the run."""
    kept = [
        part
        for part in parts[1:]
        if not _GENERIC.fullmatch(part) and not re.fullmatch(r"seed[_=-]?\d+", part, re.IGNORECASE)
    ]
    return kept or list(parts[-1:])


def _run(name: str, path: Path) -> tuple[str, str, int | None]:
    match = _CLEANRL.fullmatch(name)
    return (match["run"], match["method"], int(match["seed"])) if match else (name, "", _seed_of(path.as_posix()))


def _seed_of(text: str) -> int | None:
    found = _SEED.findall(text)
    return int(found[-1]) if found else None


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
