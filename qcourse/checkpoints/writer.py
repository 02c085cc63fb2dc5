"""Files that are whole or not there: written beside their place, forced to the disk, then renamed.

A rename replaces a name in one step, so whoever is killed leaves the old file, or none, and a `.part` that nobody reads.
Tensors are written one after another: no second copy of them is held. The bytes are those of the reference library:
wide dtypes first, then by name, the header filled with spaces to a multiple of eight bytes.
Source: the safetensors format (huggingface/safetensors README, `serialize`).
"""

import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from qcourse.checkpoints.safetensors_file import DTYPES
from qcourse.shapes import Tensor

MADE_BY = "qcourse"  # where a format asks for the producer
NAMES = {dtype: name for name, dtype in DTYPES.items()}
RANK = {name: i for i, name in enumerate((
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16", "U16", "F16", "BF16", "I32",
    "U32", "F32", "C64", "F64", "I64", "U64",
))}  # fmt: skip


def write_whole(path: Path, write: Callable) -> int:
    """`write(file)` into a `.part`, then rename; the number of bytes. Raises OSError naming the file, as for a full disk.
    What could not be finished is removed, except by a kill."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        part.replace(path)
        sync_folder(path.parent)
    except (Exception, KeyboardInterrupt) as e:
        with suppress(OSError):
            part.unlink()
        if isinstance(e, OSError):
            raise OSError(e.errno, e.strerror or str(e), str(path)) from e
        raise
    return size


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_json(path: Path, data: dict) -> int:
    """A JSON object, indented. Raises ValueError for NaN or inf, OSError as `write_whole`."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return write_whole(path, lambda file: file.write(text.encode()))


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> int:
    """A safetensors file; the number of its bytes. Raises ValueError for a dtype that the format has no name for."""
    unnamed = [n for n, t in tensors.items() if t.dtype not in NAMES]
    if unnamed:
        raise ValueError(f"tensor {unnamed[0]!r} is {tensors[unnamed[0]].dtype}: safetensors has no name for it")
    order = sorted(tensors, key=lambda n: (-RANK[NAMES[tensors[n].dtype]], n))
    header, at = {"__metadata__": {"format": "pt"} | (metadata or {})}, 0
    for name in order:
        t = tensors[name]
        offsets = [at, at := at + t.numel() * t.element_size()]
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": offsets}
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)

    def write(file) -> None:
        file.write(struct.pack("<Q", len(head)) + head)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().flatten()
            file.write(memoryview(flat.view(torch.uint8).numpy()))

    return write_whole(path, write)
