"""Guards of the layout: which way imports point, what the wheel holds, and that the README tells the truth."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("probe", "trainers", "datasets", "commands")
ALLOWED = {
    # folder: what it may import of the other three
    "probe": (),
    "trainers": ("probe.datasets.environments",),
    "datasets": (),
    "commands": ("probe.trainers", "probe.datasets", "probe.commands"),
}


def sources(folder: str) -> list[Path]:
    links = {ROOT / "probe" / name for name in FOLDERS[1:]}
    return [path for path in (ROOT / folder).rglob("*.py") if not links & set(path.parents)]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_one_way(folder: str) -> None:
    outside = tuple(f"probe.{name}" for name in FOLDERS[1:] if name != folder)
    for path in sources(folder):
        for name in imported(path):
            if name.startswith(outside):
                assert name.startswith(ALLOWED[folder]), f"{path.relative_to(ROOT)} imports {name}"
            assert name.split(".")[0] not in FOLDERS[1:], f"{path.relative_to(ROOT)} imports {name} without `probe.`"


def test_the_links_are_relative() -> None:
    for name in FOLDERS[1:]:
        assert (ROOT / "probe" / name).readlink() == Path("..") / name


def test_the_wheel_holds_every_package_and_preset(tmp_path: Path) -> None:
    # A copy: setuptools leaves a build folder, whose old files would get into the next wheel.
    source = tmp_path / "source"
    left_out = shutil.ignore_patterns(".*", "build", "runs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    held = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    for folder in FOLDERS:
        prefix = "" if folder == "probe" else "probe/"
        for path in [*sources(folder), *(ROOT / folder).glob("presets/*.toml")]:
            assert prefix + str(path.relative_to(ROOT)) in held
    assert "probe/py.typed" in held
    assert not [name for name in held if name.startswith(("tests/", "trainers/", "datasets/", "commands/"))]


def test_the_readme_and_the_makefile_name_the_same_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_readme_demo_commands_are_the_makefiles() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)/", "").replace("$(DEMO)", "runs/demo")
    commands = re.findall(
        r"^probe (?:train|collect|analyze|report) .*$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    verbs = {command.split()[1] for command in commands}
    assert verbs == {"train", "collect", "analyze", "report"}
    for command in commands:
        assert command in makefile, f"README has `{command}`, the Makefile has not"


def test_help_does_not_load_torch() -> None:
    code = "import sys, probe.commands.app; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_at_most_fifteen_public_names_and_each_resolves() -> None:
    import probe

    assert len(probe.__all__) <= 15
    for name in probe.__all__:
        assert not isinstance(getattr(probe, name), ModuleType), f"probe.{name} is hidden by the module of that name"
