"""A GGUF file, version 3, as llama.cpp reads it: metadata first, then every tensor's name and place, then the bytes.

The header needs only shapes and types, so tensors are made one after another while the file is written: never more than one
is in memory. The file is whole or not there (`writer.write_whole`). Its layout is drawn in `gguf_file`.
Source: ggml's `docs/gguf.md`; the same bytes as gguf-py's writer for the same pairs (tests/interop).
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.checkpoints.gguf_values import ARRAY, BOOL, NUMBERS, STRING
from qcourse.checkpoints.writer import write_whole
from qcourse.shapes import Tensor

ALIGNMENT, VERSION = 32, 3
U32, I32, F32, U64 = 4, 5, 6, 10
KIND_OF = {np.dtype(d): kind for kind, d in NUMBERS.items()}


@dataclass(frozen=True)
class Written:
    """One tensor to be written: its type by name, its shape in torch order (N, K), and what makes its bytes when asked: the
    whole, or some rows after the others."""

    ggml_type: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor | Iterator[Tensor]]

    @property
    def nbytes(self) -> int:
        """Bytes in the file. Raises ValueError for an unknown type, and for blocks that do not divide K."""
        if self.ggml_type not in GGML_TYPES:
            raise ValueError(f"GGUF type {self.ggml_type!r}: one of {', '.join(GGML_TYPES)} expected")
        _, block, size = GGML_TYPES[self.ggml_type]
        if self.shape[-1] % block:
            raise ValueError(f"{self.ggml_type} has blocks of {block} weights, which do not divide K={self.shape[-1]}")
        return prod(self.shape) // block * size


def write_gguf(path: Path, metadata: Mapping[str, object], tensors: Mapping[str, Written]) -> int:
    """Write a file; the number of its bytes. Metadata values: str, bool, int (uint32, or int32 below 0, uint64 beyond),
    float (fp32), NumPy arrays of numbers, and sequences of str.

    Raises ValueError naming a tensor or key that does not fit, TypeError for another value, OSError as for a full disk.
    """
    places, at = {}, 0
    for name, t in tensors.items():
        try:
            places[name], at = at, aligned(at + t.nbytes)
        except ValueError as e:
            raise ValueError(f"tensor {name!r}: {e}") from e
    head = [b"GGUF", struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        kind, data = encoded(key, value)
        head.append(string(key) + struct.pack("<I", kind) + data)
    for name, t in tensors.items():
        dims = struct.pack(f"<I{len(t.shape)}Q", len(t.shape), *t.shape[::-1])
        head.append(string(name) + dims + struct.pack("<IQ", GGML_TYPES[t.ggml_type][0], places[name]))
    header = b"".join(head)

    def write(file) -> None:
        file.write(header + bytes(aligned(len(header)) - len(header)))
        for name, t in tensors.items():
            made, size = t.make(), 0
            for rows in [made] if isinstance(made, Tensor) else made:
                data = rows.detach().cpu().contiguous().flatten().view(torch.uint8)
                file.write(memoryview(data.numpy()))
                size += data.numel()
            if size != t.nbytes:
                raise ValueError(f"tensor {name!r}: {size} bytes were made, {t.nbytes} promised")
            file.write(bytes(aligned(t.nbytes) - t.nbytes))

    return write_whole(path, write)


def aligned(size: int) -> int:
    """The next multiple of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def string(text: str) -> bytes:
    """A length and UTF-8."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def encoded(key: str, value: object) -> tuple[int, bytes]:
    """(type, bytes) of a metadata value. Raises TypeError naming the key."""
    if isinstance(value, bool):
        return BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        kind, code = (I32, "i") if value < 0 else (U32, "I") if value < 1 << 32 else (U64, "Q")
        return kind, struct.pack("<" + code, value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    if isinstance(value, str):
        return STRING, string(value)
    if isinstance(value, np.ndarray) and value.dtype in KIND_OF and value.ndim == 1:
        return ARRAY, struct.pack("<IQ", KIND_OF[value.dtype], len(value)) + value.tobytes()
    if isinstance(value, np.ndarray) and value.dtype == bool and value.ndim == 1:
        return ARRAY, struct.pack("<IQ", BOOL, len(value)) + value.tobytes()
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return ARRAY, struct.pack("<IQ", STRING, len(value)) + b"".join(map(string, value))
    raise TypeError(f"{key} = {value!r}: str, bool, int, float, a NumPy array or a sequence of str expected")
