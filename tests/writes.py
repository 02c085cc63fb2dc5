"""What can happen in the middle of a file: the n-th write of a run is a full disk, or the end of the process."""

import errno
import os
from pathlib import Path


class Killed(BaseException):
    """Stands for a kill: nobody catches it."""


class Counted:
    """A file opened for writing, whose writes are counted together with those of all others."""

    def __init__(self, file, act):
        self.file, self.act = file, act

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self.file.__exit__(*error)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data) -> int:
        self.act()
        return self.file.write(data)


def at_write(monkeypatch, n: int, error: BaseException) -> None:
    """Let the n-th write into a .part raise."""
    opened, count = Path.open, [0]

    def act() -> None:
        count[0] += 1
        if count[0] == n:
            raise error

    def counting(path, mode="r", *args, **options):
        file = opened(path, mode, *args, **options)
        return Counted(file, act) if "w" in mode and path.name.endswith(".part") else file

    monkeypatch.setattr(Path, "open", counting)


def full() -> OSError:
    """What the system says of a full disk."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
