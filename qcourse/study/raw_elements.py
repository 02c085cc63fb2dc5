"""Elements of tensors where they lie: an offset into the file, the bytes that stand there, and the bits among them.

leaves(folder, layer)     the tensors of one layer in a folder of safetensors files, by the last part of their names
blocks(path, layer)       a layer's rows of Q4_0 blocks in a .gguf file
Raw.number, Raw.field     one element, whole or some bits of it, read from the file itself
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from qcourse.checkpoints.folder import weight_files
from qcourse.checkpoints.gguf import IN_BLOCK
from qcourse.checkpoints.gguf_file import GGUFFile

BLOCK, BLOCK_BYTES = 32, 18  # weights and bytes of a block of Q4_0


@dataclass(frozen=True)
class Part:
    """What a file holds: bytes from `begin` of the file on; of them, as one little-endian number, `width` bits from bit
    `shift` on. role: code, scale … · number: what these bits mean."""

    role: str
    tensor: str
    path: Path
    begin: int
    data: bytes
    shift: int
    width: int
    number: float

    @property
    def stored(self) -> int:
        """The bits as they are, as a whole number."""
        return int.from_bytes(self.data, "little") >> self.shift & (1 << self.width) - 1


@dataclass(frozen=True)
class Raw:
    """Where a tensor lies: its first byte in the file, elements a row, and their dtype."""

    name: str
    path: Path
    begin: int
    columns: int
    dtype: torch.dtype

    def read(self, row: int, column: int) -> tuple[int, bytes]:
        """(first byte in the file, bytes) of an element."""
        begin = self.begin + (row * self.columns + column) * self.dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(begin)
            return begin, file.read(self.dtype.itemsize)

    def number(self, role: str, row: int, column: int) -> Part:
        """A whole element, as a number of its dtype."""
        begin, data = self.read(row, column)
        value = torch.frombuffer(bytearray(data), dtype=self.dtype).float().item()
        return Part(role, self.name, self.path, begin, data, 0, 8 * len(data), value)

    def field(self, role: str, row: int, column: int, shift: int, width: int = 4, offset: int = 0) -> Part:
        """Some bits of an element, as an unsigned number plus `offset`."""
        begin, data = self.read(row, column)
        value = (int.from_bytes(data, "little") >> shift & (1 << width) - 1) + offset
        return Part(role, self.name, self.path, begin, data, shift, width, value)


def leaves(folder: Path, layer: str) -> dict[str, Raw]:
    """The tensors of a layer. Raises CheckpointError for a folder without weights, KeyError for a layer that it lacks."""
    weights, found = weight_files(folder), {}
    for name in weights:
        path, _, leaf = name.rpartition(".")
        if path == layer:
            file, entry = weights[name]
            columns = entry.shape[-1] if len(entry.shape) > 1 else 1
            found[leaf] = Raw(name, file.path, entry.begin, columns, entry.dtype)
    if not found:
        raise KeyError(f"{folder} has no layer {layer!r}")
    return found


def blocks(path: Path, layer: str) -> dict[str, Raw]:
    """A layer's blocks, as rows of bytes. Raises KeyError for a layer that the file lacks, ValueError for another type."""
    theirs = {ours: name for name, ours in IN_BLOCK.items()}
    _, _, i, inside = layer.split(".", 3)
    name = f"blk.{i}.{theirs[inside]}.weight"
    info = GGUFFile(path).tensors[name]
    if info.ggml_type != "Q4_0":
        raise ValueError(f"{path}: {name} is {info.ggml_type}: Q4_0 expected")
    return {"blocks": Raw(name, path, info.begin, info.shape[1] // BLOCK * BLOCK_BYTES, torch.uint8)}
