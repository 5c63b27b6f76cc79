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
    # Above 32 MB: smaller blocks glibc keeps by itself after a while.
    torch.ones(16 * 2**20).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, sum(faults() for _ in range(20)))
"""


def run(kept: bool) -> tuple[bool, int]:
    command = [sys.executable, "-c", FAULTS.format(kept=kept)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer, faults = done.stdout.split()
    return answer == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept() -> None:
    kept, faults = run(kept=True)
    _, usual = run(kept=False)
    if kept:  # another C library has no mallopt, and then nothing happens
        # A few times the heap still grows: a small piece in use keeps two freed ones apart.
        assert faults < usual / 2


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    assert keep_freed_memory() is False
