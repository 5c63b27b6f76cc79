import resource
import subprocess
import sys

import pytest

from probe.memory import keep_freed_memory

FAULTS = """
import resource, torch
from probe.memory import keep_freed_memory
kept = {kept} and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(4 * 2**20).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
# The first ones settle where the memory comes from.
for _ in range(3):
    faults()
print(kept, faults())
"""


def run(kept: bool) -> tuple[bool, int]:
    command = [sys.executable, "-c", FAULTS.format(kept=kept)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer, faults = done.stdout.split()
    return answer == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept() -> None:
    pages = 4 * 4 * 2**20 // resource.getpagesize()
    kept, faults = run(kept=True)
    _, usual = run(kept=False)
    if kept:  # another C library has no mallopt, and then nothing happens
        assert faults < pages / 20 < usual


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    assert keep_freed_memory() is False
