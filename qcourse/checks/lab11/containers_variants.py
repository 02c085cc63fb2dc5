"""read_safetensors with one thing changed: where it reads, as what, and what it believes."""

import json
import math

import torch

from qcourse.checks.task import Refuse
from qcourse.shapes import Tensor

TORCH = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8, "I8": torch.int8,
    "I32": torch.int32,
}  # fmt: skip


def fits(begin: int, end: int, size: int, room: int) -> bool:
    """All that has to hold."""
    return begin >= 0 and end <= room and end - begin == size


def plain(raw: bytes, dtype: torch.dtype) -> Tensor:
    """Numbers, as they lie there."""
    return torch.frombuffer(bytearray(raw), dtype=dtype)


def turned(raw: bytes, dtype: torch.dtype) -> Tensor:
    """The bytes of each number from behind."""
    width = dtype.itemsize
    return plain(b"".join(raw[i : i + width][::-1] for i in range(0, len(raw), width)), dtype)


def by_rows(t: Tensor, shape: list) -> Tensor:
    """As the header says."""
    return t.reshape(shape)


def by_columns(t: Tensor, shape: list) -> Tensor:
    """The first axis fastest."""
    return t.reshape(shape[::-1]).permute(tuple(reversed(range(len(shape)))))


def offsets(entries: dict, name: str) -> list:
    """As the header says."""
    return entries[name]["data_offsets"]


def from_zero(entries: dict, name: str) -> list:
    """The first tensor's place, as long as this one's."""
    begin, end = entries[name]["data_offsets"]
    return [0, end - begin]


def in_turn(entries: dict, name: str) -> list:
    """As if the data had the order of the header."""
    at = 0
    for other, entry in entries.items():
        begin, end = entry["data_offsets"]
        if other == name:
            return [at, at + end - begin]
        at += end - begin
    return [0, 0]


def read(
    start=lambda n: 8 + n, dtypes=(), place=offsets, cut=plain, shaped=by_rows, legal=fits, absent=None, missing=True,
    end=lambda t: t,
):  # fmt: skip
    """read_safetensors with one thing changed. missing: whether a name that is not there is refused; else `absent` comes."""

    def wrong(data, name):
        n = int.from_bytes(data[:8], "little")
        entries = json.loads(data[8 : 8 + n])
        entries.pop("__metadata__", None)
        if name not in entries:
            if missing:
                raise Refuse("no such tensor")
            return absent(entries, data[8 + n :]) if absent else None
        entry = entries[name]
        dtype = (TORCH | dict(dtypes))[entry["dtype"]]
        size = math.prod(entry["shape"]) * dtype.itemsize
        begin, stop = place(entries, name)
        if not legal(begin, stop, size, len(data) - 8 - n):
            raise Refuse("the offsets do not fit")
        at = start(n) + begin
        return end(shaped(cut(data[at : at + size], dtype), entry["shape"]))

    return wrong


def last(entries: dict, body: bytes) -> Tensor:
    """Some tensor that is there."""
    entry = list(entries.values())[-1]
    return plain(body[slice(*entry["data_offsets"])], TORCH[entry["dtype"]]).reshape(entry["shape"])
