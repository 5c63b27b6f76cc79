"""A disk that fills up ends in a message, and leaves neither half a file nor a damaged one."""

import subprocess
import sys
from pathlib import Path

import pytest

WRITERS = {
    "a checkpoint": """
from tests.probe.checkpoints.test_native import network_and_metadata
from probe.checkpoints.native import save
def write(path):
    save(path, *network_and_metadata(width=64))
""",
    "a part of an analysis": """
import numpy as np
from probe.results.parts import PartStore
def write(path):
    PartStore(path.parent / "a").save("key", {"x": np.zeros(20_000)}, {})
""",
    "an analysis": """
from tests.probe.results.test_results import row, write as write_rows
def write(path):
    write_rows(path, [row()] * 100)
""",
}

# RLIMIT_FSIZE stops a process from growing a file, as a full disk does: the write fails half-way.
FILL = """
import resource, signal, sys
from pathlib import Path
from probe.errors import FileError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
try:
    write(Path(sys.argv[1]))
except FileError as error:
    print(error)
"""


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_said_plainly_and_leaves_nothing(tmp_path: Path, what: str) -> None:
    command = [sys.executable, "-c", WRITERS[what] + FILL, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be written" in done.stdout and "Free space or choose another place" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
