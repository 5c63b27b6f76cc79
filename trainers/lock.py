"""One process at a time in a run folder."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from probe.errors import FileError
from probe.files import reason

NAME = "run.lock"


class FolderLock:
    """A file with the holder's process id; the kernel gives the lock up when that process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder where it is missing and locks it.

        Raises:
            FileError: another process holds it, or the folder cannot be made.
        """
        self.path = folder / NAME
        self._made = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._acquired()
        except BlockingIOError as error:
            raise FileError(
                f"{folder}: {self._holder()} is training here. Wait for it, or stop it and continue with --resume."
            ) from error
        except OSError as error:
            raise FileError(f"{folder}: cannot be made ({reason(error)}). Give another --out.") from error

    def release(self, keep: bool = True) -> None:
        """Removes the file and gives the lock up; unless `keep`, removes the empty folders that it made, too."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        if not keep:
            with suppress(OSError):
                for each in self._made:
                    each.rmdir()

    def _holder(self) -> str:
        number = ""
        with suppress(OSError):
            number = self.path.read_text().strip()
        return f"process {number}" if number else "another process"

    def _acquired(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
            # The last holder may have removed the file after we opened it; then we have locked what nobody else sees.
            if self.path.exists() and os.path.samestat(os.fstat(descriptor), self.path.stat()):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
            os.close(descriptor)


def trains(folder: Path) -> bool:
    """Whether a process of this machine trains in a run folder; the lock is looked at and not tried."""
    try:
        number = (folder / NAME).read_text().strip()
        os.kill(int(number), 0)
    except ValueError:
        return True  # it has the lock and is about to write its number
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # another user's process
    return True
