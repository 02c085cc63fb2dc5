"""A regular file that does not change under us, and what its index may cost.

Everything that a file claims about itself is checked against one number that it cannot forge: its length.
"""

import mmap
import os
import stat
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.shapes import Tensor, UInt8

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a FIFO must not make us wait
BUDGET = 1 << 22


class Budget:
    """Memory that the index of a file (names, shapes, metadata) may take: 4 MiB plus the file's own length.

    JSON like `[[],[],…` or a million empty tensors cost 20 times their bytes as Python objects; so objects are counted
    as they are made, and the first one too many is an error.
    """

    def __init__(self, path: Path, file_bytes: int):
        self.path, self.total, self.left = path, BUDGET + file_bytes, BUDGET + file_bytes

    def spend(self, what: object, extra: int = 128) -> None:
        """Count one object and `extra` bytes for its place in a dict. Raises CheckpointError when nothing is left."""
        self.left -= sys.getsizeof(what) + extra
        if self.left < 0:
            raise CheckpointError(
                f"{self.path}: its header asks for more than {self.total} bytes of memory (4 MiB and the file's own length)"
            )


class OnDisk:
    """One regular file: `size`, `map()` for its header, `read()` for its data. Raises CheckpointError for anything else.

    No handle stays open; each door opens the file again and compares device, inode, length and time of change.
    watch: is shown what `read` has read, (begin, bytes), where somebody follows a file (`models.source_watch`).
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.stamp, self.watch = None, None
        with self._open() as (_, self.stamp):
            self.size = self.stamp[2]

    @contextmanager
    def _open(self):
        try:
            fd = os.open(self.path, FLAGS)
        except (OSError, ValueError) as e:
            raise CheckpointError(f"{self.path}: cannot be opened ({getattr(e, 'strerror', None) or e})") from e
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise CheckpointError(f"{self.path}: not a regular file")
            stamp = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
            if self.stamp not in (None, stamp):
                raise CheckpointError(f"{self.path}: changed while it was being read")
            yield fd, stamp
        finally:
            os.close(fd)

    @contextmanager
    def map(self):
        """The bytes as a read-only map: no copy, whatever the length. Raises CheckpointError for an empty file."""
        if not self.size:
            raise CheckpointError(f"{self.path}: an empty file")
        with self._open() as (fd, _), mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as view:
            yield view

    def read(self, begin: int, nbytes: int) -> UInt8[Tensor, "nbytes"]:
        """Bytes begin … begin + nbytes in memory of their own (the one copy). Raises CheckpointError beyond the end."""
        if begin < 0 or nbytes < 0 or begin + nbytes > self.size:
            raise CheckpointError(f"{self.path}: bytes {begin}…{begin + nbytes} of a file of {self.size}")
        data = torch.empty(nbytes, dtype=torch.uint8)
        with self._open() as (fd, _), os.fdopen(os.dup(fd), "rb", buffering=0) as file:
            file.seek(begin)
            into, done = memoryview(data.numpy()), 0
            while done < nbytes:
                try:
                    got = file.readinto(into[done:])
                except OSError as e:
                    raise CheckpointError(f"{self.path}: cannot be read ({e.strerror or e})") from e
                if not got:
                    raise CheckpointError(f"{self.path}: became shorter while it was being read")
                done += got
        if self.watch is not None:
            self.watch(begin, memoryview(data.numpy()))
        return data


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor's bytes lie: nbytes from byte `begin` of a file, and its name there."""

    disk: OnDisk
    begin: int
    nbytes: int
    name: str


def check_extents(path: Path, extents: list[tuple[int, int, str]], at: int, holes: bool) -> int:
    """The end of the last of (begin, end, name), which start at `at`; sorts them.

    Raises CheckpointError for an overlap, and for a hole unless `holes`.
    """
    before = "the header"
    extents.sort()
    for begin, end, name in extents:
        if begin < at and end > begin:
            raise CheckpointError(f"{path}: tensor {name!r} begins at byte {begin}, inside {before}, which ends at {at}")
        if begin != at and not holes:
            raise CheckpointError(f"{path}: tensor {name!r} begins at byte {begin}, but {before} ends at {at}")
        at, before = max(at, end), f"tensor {name!r}"
    return at
