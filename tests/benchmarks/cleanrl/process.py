"""CleanRL's loop in a process of its own, with an allocator and threads of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = "CLEANRL"
"""The environment variable that gives the folder of a checkout."""
_RUN = "from tests.benchmarks.cleanrl.loop import main; main()"


def play_in_a_process(checkout: Path, settings: Mapping[str, Any], allocator: str) -> dict[str, Any]:
    """Returns `episodes` and `update_ends` of a run; see `Played`.

    Args:
        checkout: of github.com/vwxyzjn/cleanrl.
        settings: of the file's `Args`; `seed` among them.
        allocator: `default`, or `kept` for one that keeps freed memory.
    """
    command = [sys.executable, "-c", _RUN, str(checkout), json.dumps(settings), allocator]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found
