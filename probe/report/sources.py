"""Paths -> what a report is made of: analysis files and run folders."""

from collections.abc import Sequence
from pathlib import Path

from probe.errors import FileError
from probe.figures import Material
from probe.figures.logs import CONFIGURATION, is_run, open_log
from probe.results import open_analysis


def open_material(paths: Sequence[Path]) -> Material:
    """Opens analysis files, run folders, and every run below a folder.

    Raises:
        FileError: a path is missing, damaged, foreign, or a folder without a run; or an analysis has no rows.
    """
    files = dict.fromkeys(path for path in paths if not path.is_dir())
    runs = dict.fromkeys(run.resolve() for path in paths if path.is_dir() for run in _runs(path))
    logs = tuple(open_log(run) for run in runs)
    analyses = tuple(open_analysis(path) for path in files)
    for analysis in analyses:
        if not len(analysis.rows["run"]):
            raise FileError(f"{analysis.path}: an analysis without a single row. Run `probe analyze` again.")
    return Material(analyses, logs)


def _runs(folder: Path) -> list[Path]:
    if is_run(folder):
        return [folder]
    found = sorted(path.parent for path in folder.rglob(CONFIGURATION))
    if not found:
        raise FileError(
            f"{folder}: no run in it ({CONFIGURATION} is missing). Give a run folder, a folder above several, or an "
            "analysis file (*.h5)."
        )
    return found
