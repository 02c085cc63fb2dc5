"""The safetensors container: a length, a JSON header, and the bytes of the tensors one after another.

    byte 0      8            8 + n                      end
    | n (u64) | {"name": {"dtype", "shape", "data_offsets"}, …, "__metadata__": {str: str}} | tensors, no holes |

Everything the header claims is checked before a tensor is allocated; offsets count from the end of the header.
Does not handle: dtypes narrower than a byte (F4, F6): their shape would not be the shape of a torch tensor.
Source: the format's own description (huggingface/safetensors README).
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.json_scan import Scanner
from qcourse.checkpoints.on_disk import Budget, OnDisk, check_extents
from qcourse.shapes import Tensor

NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
DTYPES = {name: getattr(torch, theirs) for name, theirs in NAMES.items() if hasattr(torch, theirs)}
MAX_HEADER = 100_000_000  # the reference library's own limit
MAX_NAME, MAX_TEXT, MAX_DIMS = 4096, 1 << 20, 16
FIELDS = ("dtype", "shape", "data_offsets")


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the header; bytes begin … end of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """`metadata` and `tensors` of one file, checked; `read(name)` is the only door that allocates a tensor.

    >>> from safetensors.torch import save_file
    >>> import tempfile; path = tempfile.mkdtemp() + "/x.safetensors"
    >>> save_file({"w": torch.eye(2)}, path)
    >>> SafetensorsFile(path).tensors["w"].shape
    (2, 2)

    Raises CheckpointError naming file and tensor. Memory for the header: at most 4 MiB and the file's own length.
    """

    def __init__(self, path: Path | str):
        self.disk = OnDisk(path)
        self.path = self.disk.path
        self.metadata: dict[str, str] = {}
        self.tensors: dict[str, Entry] = {}
        with self.disk.map() as data:
            self._header(data)

    def read(self, name: str) -> Tensor:
        """The tensor, in memory of its own. Raises CheckpointError for an unknown name or a BOOL byte that is not 0 or 1."""
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: tensor {name!r} is missing")
        entry = self.tensors[name]
        data = self.disk.read(entry.begin, entry.end - entry.begin)
        if entry.dtype == torch.bool and (data > 1).any():
            raise CheckpointError(f"{self.path}: tensor {name!r} is BOOL and holds bytes other than 0 and 1")
        return data.view(entry.dtype).reshape(entry.shape)

    def _header(self, data) -> None:
        size = self.disk.size
        if size < 10:
            raise CheckpointError(f"{self.path}: {size} bytes: too short for a safetensors file")
        (length,) = struct.unpack_from("<Q", data)
        if not 2 <= length <= min(size - 8, MAX_HEADER):
            raise CheckpointError(
                f"{self.path}: not a safetensors file, or cut short: a header of {length} bytes in a file of {size}"
            )
        scan = Scanner(data, 8, 8 + length, Budget(self.path, size))
        if data[8] != ord("{"):
            scan.fail("'{'")
        for name in scan.members("the header", MAX_NAME):
            if name == "__metadata__":
                self.metadata = self._metadata(scan)
            else:
                self.tensors[name] = self._entry(scan, name, 8 + length)
            scan.place = "header"
        scan.space()
        if scan.at != scan.end:
            scan.fail("only spaces after the header")
        extents = [(entry.begin, entry.end, name) for name, entry in self.tensors.items()]
        end = check_extents(self.path, extents, 8 + length, holes=False)
        if end != size:
            raise CheckpointError(f"{self.path}: the last tensor ends at byte {end} of a file of {size}")

    def _metadata(self, scan: Scanner) -> dict[str, str]:
        scan.place, found = "__metadata__", {}
        for key in scan.members("__metadata__", MAX_NAME):
            found[key] = scan.string(MAX_TEXT, f"the value of {key!r}")
        return found

    def _entry(self, scan: Scanner, name: str, start: int) -> Entry:
        scan.place, given, left = f"tensor {name!r}", {}, scan.budget.left
        for key in scan.members("the tensor"):
            if key == "dtype":
                given[key] = scan.string(64, key)
            elif key in FIELDS:
                given[key] = scan.integers(MAX_DIMS if key == "shape" else 2, key)
            else:
                raise CheckpointError(f"{self.path}: tensor {name!r}: unknown field {key!r}, known are {', '.join(FIELDS)}")
        if missing := [f for f in FIELDS if f not in given]:
            raise CheckpointError(f"{self.path}: tensor {name!r}: {missing[0]} is missing")
        dtype, shape, offsets = (given[f] for f in FIELDS)
        if dtype not in DTYPES:
            raise CheckpointError(f"{self.path}: tensor {name!r}: dtype {dtype!r}, read are {', '.join(DTYPES)}")
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            raise CheckpointError(f"{self.path}: tensor {name!r}: data_offsets {list(offsets)}: expected [begin, end]")
        self._check(name, DTYPES[dtype], shape, offsets, start)
        scan.budget.left = left  # the fields themselves are gone; what stays is one Entry
        scan.budget.spend(shape, 32 * len(shape) + 256)
        return Entry(DTYPES[dtype], shape, start + offsets[0], start + offsets[1])

    def _check(self, name: str, dtype: torch.dtype, shape: tuple, offsets: tuple, start: int) -> None:
        nbytes, where = prod(shape) * dtype.itemsize, f"{self.path}: tensor {name!r}"
        if prod(max(d, 1) for d in shape) * dtype.itemsize >= 1 << 63:
            raise CheckpointError(f"{where}: shape {list(shape)} overflows 63 bits")
        held = offsets[1] - offsets[0]
        if held != nbytes:
            raise CheckpointError(
                f"{where}: {dtype} {list(shape)} takes {nbytes} bytes, data_offsets {list(offsets)} hold {held}"
            )
        if start + offsets[1] > self.disk.size:
            raise CheckpointError(
                f"{where}: ends at byte {start + offsets[1]} of a file of {self.disk.size}: cut short, or a wrong offset"
            )
