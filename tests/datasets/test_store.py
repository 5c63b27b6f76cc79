import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from probe.datasets.store import write_observations
from probe.errors import FileError
from probe.observations import open_observations
from tests.probe.test_observations import ATTRIBUTES, columns, write


def example():
    return columns(range(1))


def nothing_left(folder):
    return not any(folder.iterdir())


def test_equal_content_gives_equal_digests(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, 100)
    write(tmp_path / "c", 100, seed=1)
    first, second, other = (open_observations(tmp_path / name).attributes["digest"] for name in "abc")
    assert first == second != other


def test_a_file_in_the_way_is_never_overwritten(tmp_path):
    path = tmp_path / "set.h5"
    path.write_text("precious")
    with pytest.raises(FileError, match=r"exists already.*--out"):
        write(path, 10)
    assert path.read_text() == "precious" and os.listdir(tmp_path) == ["set.h5"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="a folder is expected"):
        write(tmp_path / "file" / "set.h5", 10)


def test_missing_folders_are_made(tmp_path):
    write(tmp_path / "some" / "where" / "set.h5", 10)
    assert open_observations(tmp_path / "some" / "where" / "set.h5").samples == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("a fault"), ValueError])
def test_an_exception_leaves_nothing_and_passes_through(tmp_path, error):
    with (
        pytest.raises(error if isinstance(error, type) else type(error)),
        write_observations(tmp_path / "set.h5", 500, np.zeros((4, 4, 3), np.uint8), example(), ATTRIBUTES) as writer,
    ):
        writer.append(np.zeros((300, 4, 4, 3), np.uint8), columns(range(300)))
        raise error
    assert nothing_left(tmp_path)


def test_too_few_rows_are_a_fault_and_leave_nothing(tmp_path):
    with (
        pytest.raises(ValueError, match="2 of 10 rows"),
        write_observations(tmp_path / "set.h5", 10, np.zeros(3, np.float32), example(), ATTRIBUTES) as writer,
    ):
        writer.append(np.zeros((8, 3), np.float32), columns(range(8)))
    assert nothing_left(tmp_path)


def test_the_file_is_not_there_before_it_is_complete(tmp_path):
    path = tmp_path / "set.h5"
    with write_observations(path, 3, np.zeros(3, np.float32), example(), ATTRIBUTES) as writer:
        writer.append(np.zeros((3, 3), np.float32), columns(range(3)))
        assert not path.exists()
    assert open_observations(path).verify()


def test_appended_arrays_may_be_changed_afterwards(tmp_path):
    with write_observations(tmp_path / "a", 130, np.zeros(3, np.float32), example(), ATTRIBUTES) as writer:
        rows = np.ones((65, 3), np.float32)
        for _ in range(2):
            writer.append(rows, columns(range(65)))
            rows[:] = 2
    expected = hashlib.sha256(np.repeat(np.float32([[1], [2]]), 65, axis=0).repeat(3, axis=1).tobytes()).hexdigest()
    assert open_observations(tmp_path / "a").digest == expected


WRITE_WITH_A_LIMIT = """
import resource, signal, sys
from pathlib import Path
from probe.errors import FileError
from tests.probe.test_observations import write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write(Path(sys.argv[1]), 400, shape=(8, 8, 3))
except FileError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", [1, 5_000, 20_000, 80_000])
def test_a_full_disk_is_said_plainly_and_leaves_nothing(tmp_path, missing):
    write(tmp_path / "whole", 400, shape=(8, 8, 3))
    limit = (tmp_path / "whole").stat().st_size - missing
    (tmp_path / "whole").unlink()
    done = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_A_LIMIT, str(tmp_path / "set.h5"), str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout == f"{tmp_path}/set.h5: cannot be written (File too large). Free space or choose another place.\n"
    )
    assert nothing_left(tmp_path)


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import numpy as np
from probe.datasets.store import write_observations
from tests.probe.test_observations import ATTRIBUTES, columns
with write_observations(Path(sys.argv[1]), 500, np.zeros((4, 4, 3), np.uint8), columns(range(1)), ATTRIBUTES) as writer:
    writer.append(np.zeros((300, 4, 4, 3), np.uint8), columns(range(300)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_nothing_that_looks_complete_and_blocks_no_other(tmp_path):
    path = tmp_path / "set.h5"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    for leftover in tmp_path.iterdir():
        with pytest.raises(FileError):
            open_observations(leftover)
    write(path, 20)
    assert open_observations(path).verify()
