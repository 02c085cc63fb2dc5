"""The GGUF container (llama.cpp), versions 2 and 3, little-endian.

    | "GGUF" version u32 | tensors u64 | pairs u64 | key, type u32, value … |
    | name, dims u32, u64 × dims, type u32, offset u64 … | padding to the alignment |
    | data: each tensor at its offset, a multiple of the alignment |

Dimensions are written fastest first: a torch (N, K) is [K, N] in the file, and is given back here as (N, K). A row of K
weights is K / block blocks; what the bits of a block mean is `packing/gguf`.
Does not handle: version 1 (32-bit lengths), big-endian files, split files; each is refused by name.
Source: ggml's `docs/gguf.md` and `gguf.cpp`.
"""

import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.gguf_types import GGML_TYPES, NAME_OF, NOT_READ
from qcourse.checkpoints.gguf_values import Cursor
from qcourse.checkpoints.on_disk import Budget, OnDisk, check_extents
from qcourse.shapes import Tensor, UInt8

MAX_KEY, MAX_NAME, MAX_DIMS = 65535, 1024, 4
PAIR, INFO = 13, 24  # the fewest bytes of a key with its value, and of a tensor's description


@dataclass(frozen=True, slots=True)
class Info:
    """One tensor of the header: `ggml_type` by name, `shape` in torch order, bytes begin … begin + nbytes of the file."""

    ggml_type: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int


class GGUFFile:
    """`metadata` and `tensors` of one file, checked; `rows(name)` gives a tensor's bytes, one row of blocks for each n.

    Metadata values: int, float, bool, str; arrays are NumPy arrays, or a `Strings` (a sequence of str), or a list of arrays.
    Raises CheckpointError naming file and tensor. Memory for the header: at most 4 MiB and the file's own length.
    """

    def __init__(self, path: Path | str):
        self.disk = OnDisk(path)
        self.path = self.disk.path
        self.metadata: dict[str, object] = {}
        self.tensors: dict[str, Info] = {}
        with self.disk.map() as data:
            self._header(Cursor(data, Budget(self.path, self.disk.size)))

    def rows(self, name: str) -> UInt8[Tensor, "N bytes"]:
        """The raw bytes, (N, bytes of a row), in memory of their own; N counts all dimensions but the last.

        Raises CheckpointError for an unknown name.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: tensor {name!r} is missing")
        info = self.tensors[name]
        _, block, size = GGML_TYPES[info.ggml_type]
        K = info.shape[-1] if info.shape else 1
        return self.disk.read(info.begin, info.nbytes).reshape(prod(info.shape[:-1]), K // block * size)

    def _header(self, cursor: Cursor) -> None:
        if cursor.data[:4] != b"GGUF":
            raise CheckpointError(f"{self.path}: begins with {bytes(cursor.data[:4])!r}: not a GGUF file")
        cursor.at = 4
        version = cursor.take("I", "the version")
        if version and version & 0xFFFF == 0:
            cursor.fail("a big-endian GGUF file; only little-endian ones are read")
        if version not in (2, 3):
            cursor.fail(f"GGUF version {version}; 2 and 3 are read")
        tensors, pairs = cursor.take("Q", "the tensor count"), cursor.take("Q", "the pair count")
        cursor.room(1, tensors * INFO + pairs * PAIR, f"{tensors} tensors and {pairs} metadata pairs")
        for _ in range(pairs):
            self._pair(cursor)
        align = self._alignment(cursor)
        for _ in range(tensors):
            self._tensor(cursor, align)
        start = -(-cursor.at // align) * align
        self._place(start)

    def _pair(self, cursor: Cursor) -> None:
        cursor.place = "metadata"
        key = cursor.string("a key", MAX_KEY)
        if key in self.metadata:
            cursor.fail(f"key {key!r} is given twice")
        cursor.place = f"metadata {key!r}"
        kind = cursor.take("I", "the value's type")
        if key == "general.alignment" and kind != 4:
            cursor.fail(f"value type {kind}; 4 (uint32) expected")
        cursor.budget.spend(None, 256)
        self.metadata[key] = cursor.value(kind)

    def _alignment(self, cursor: Cursor) -> int:
        align = self.metadata.get("general.alignment", 32)
        if align < 1 or align & (align - 1):
            cursor.fail(f"general.alignment {align}: a power of two expected")
        return align

    def _tensor(self, cursor: Cursor, align: int) -> None:
        cursor.place = f"tensor {len(self.tensors)}"
        name = cursor.string("its name", MAX_NAME)
        cursor.place = f"tensor {name!r}"
        if name in self.tensors:
            cursor.fail("is described twice")
        dims = cursor.take("I", "its number of dimensions")
        if dims > MAX_DIMS:
            cursor.fail(f"{dims} dimensions; at most {MAX_DIMS} expected")
        shape = tuple(cursor.take("Q", "a dimension") for _ in range(dims))[::-1]
        number, offset = cursor.take("I", "its type"), cursor.take("Q", "its offset")
        if number not in NAME_OF:
            known = f"{NOT_READ[number]} is known but not read here" if number in NOT_READ else "an unknown number"
            cursor.fail(f"type {number}: {known}; read are {', '.join(GGML_TYPES)}")
        kind = NAME_OF[number]
        _, block, size = GGML_TYPES[kind]
        if prod(max(d, 1) for d in shape) * size >= 1 << 63:
            cursor.fail(f"shape {list(shape)} overflows 63 bits")
        if (shape[-1] if shape else 1) % block:
            cursor.fail(f"{kind} has blocks of {block} weights, which do not divide K={shape[-1] if shape else 1}")
        if offset % align:
            cursor.fail(f"offset {offset} is not a multiple of the alignment {align}")
        info = Info(kind, shape, offset, prod(shape) // block * size)
        cursor.budget.spend(info, sys.getsizeof(shape) + 32 * len(shape) + 384)
        self.tensors[name] = info

    def _place(self, start: int) -> None:
        for name, info in self.tensors.items():
            placed = Info(info.ggml_type, info.shape, start + info.begin, info.nbytes)
            if placed.begin + placed.nbytes > self.disk.size:
                raise CheckpointError(
                    f"{self.path}: tensor {name!r}: {info.nbytes} bytes at {placed.begin} of a file of {self.disk.size}: "
                    "cut short, or a wrong offset"
                )
            self.tensors[name] = placed
        check_extents(self.path, [(i.begin, i.begin + i.nbytes, n) for n, i in self.tensors.items()], start, holes=True)
