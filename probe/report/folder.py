"""The folder of a report: written whole, and never over anything that is not an earlier report."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probe.errors import FileError
from probe.files import reason, replace_on_success

MANIFEST = "report.json"
FORMAT = "probe-report"


def check_folder(out: Path) -> dict[str, set[str]]:
    """Returns the files of the earlier report in `out` with the digests they may have; empty for a new folder.

    Raises:
        FileError: `out` is a file, holds something else than a report, or a report whose files were changed.
    """
    if out.exists() and not out.is_dir():
        raise FileError(f"{out}: a file is in the way of the report's folder. Choose another --out.")
    held = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not held:
        return {}
    earlier = _manifest(out)
    if earlier is None:
        some = ", ".join(held[:3]) + (", ..." if len(held) > 3 else "")
        raise FileError(f"{out}: holds files that are no report ({some}). Choose another --out or an empty folder.")
    for name, digests in earlier.items():
        if (out / name).exists() and _digest((out / name).read_bytes()) not in digests:
            raise FileError(f"{out / name}: changed since the report was written. Move it or choose another --out.")
    return earlier


def report_files(out: Path) -> dict[str, str]:
    """Returns what each file of a report is: `whole`, `missing`, or `changed since the report was written`.

    Raises:
        FileError: the folder holds no report, or its manifest is damaged.
    """
    files = _manifest(out)
    if files is None:
        raise FileError(f"{out / MANIFEST}: not the manifest of a report, or damaged. Write the report again.")
    states = {}
    for name, digests in files.items():
        try:
            same = _digest((out / name).read_bytes()) in digests
            states[name] = "whole" if same else "changed since the report was written"
        except OSError:
            states[name] = "missing"
    return states


def write_folder(out: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Writes the files of a report and the manifest that says they are ours; replaces an earlier report.

    Files that belong to no report stay. A new folder appears whole; in an earlier report files are replaced one by
    one, and an interruption leaves a folder that the next report may replace.

    Raises:
        FileError: as `check_folder`; a foreign file has a name that the report needs; or writing fails.
    """
    earlier = check_folder(out)
    for name in files:
        if name not in earlier and (out / name).exists():
            raise FileError(f"{out / name}: not written by a report, and in its way. Move it or choose another --out.")
    staged = out.with_name(f".{out.name}.{os.getpid()}.partial")
    digests = {name: [_digest(content)] for name, content in files.items()}
    try:
        staged.mkdir(parents=True)
        for name, content in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes(content)
        _write_manifest(staged, about, digests)
        if earlier:
            _replace(staged, out, earlier, digests, about)
        else:
            staged.rename(out)
    except OSError as error:
        raise FileError(f"{out}: cannot be written ({reason(error)}). Free space or choose another --out.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _replace(
    staged: Path, out: Path, earlier: dict[str, set[str]], digests: dict[str, list[str]], about: Mapping[str, Any]
) -> None:
    both = {name: sorted({*earlier.get(name, ()), *digests.get(name, ())}) for name in {*earlier, *digests}}
    _write_manifest(out, about, both)
    for name in digests:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).replace(out / name)
    for name in earlier.keys() - digests.keys():
        (out / name).unlink(missing_ok=True)
    _write_manifest(out, about, digests)


def _write_manifest(folder: Path, about: Mapping[str, Any], digests: Mapping[str, list[str]]) -> None:
    content = {"format": FORMAT, "format_version": 1, **about, "files": dict(sorted(digests.items()))}
    with replace_on_success(folder / MANIFEST) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _manifest(out: Path) -> dict[str, set[str]] | None:
    try:
        content = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): set(digests) for name, digests in content["files"].items()}
        ours = content["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    # A manifest from elsewhere must not name files outside of its folder: they would be replaced.
    inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in files)
    return files if ours and inside else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
