"""Plain data ⇄ bytes: the only language spoken between a judge and a student's process.

    message = 4 bytes length of the header (little endian) · header (JSON) · raw bytes of tensors, one after another

Values: None, bool, int, float, str, bytes, torch tensors, numpy arrays, and tuples, lists, dicts of those. In the header a
compound is a list that names itself: ["tuple", [...]], ["dict", [[key, value], ...]], ["bytes", length, offset],
["tensor", dtype, shape, offset].
`decode` builds nothing but these types, checks every length before it allocates, and raises only CodecError.
No pickle anywhere: bytes from a student's process cannot become code.

>>> decode(encode({"codes": torch.tensor([1, -2], dtype=torch.int8), "bits": 4.125}))
{'codes': tensor([ 1, -2], dtype=torch.int8), 'bits': 4.125}
"""

import json
import math
from typing import Any

import numpy as np
import torch

DEPTH, NODES = 32, 200_000
HEADER = 8 << 20  # bytes of JSON in a stranger's message: parsing it takes some thirty times as much memory
TORCH = {
    name: getattr(torch, name)
    for name in (
        "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
        "float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu",
    )
    if hasattr(torch, name)
}  # fmt: skip
NUMPY = {n: np.dtype(n) for n in TORCH if n in np.sctypeDict}


class CodecError(ValueError):
    """A value that is not plain data, or bytes that are not a message."""


def encode(value: Any) -> bytes:
    """One message. Raises CodecError naming the type that is not data."""
    blobs: list[bytes] = []
    try:
        header = json.dumps(_pack(value, blobs, 0), allow_nan=False).encode()
    except (ValueError, RecursionError) as e:  # an int of thousands of digits; a list that contains itself
        raise e if isinstance(e, CodecError) else CodecError(f"not plain data: {e}") from None
    return len(header).to_bytes(4, "little") + header + b"".join(blobs)


def _pack(x: Any, blobs: list[bytes], depth: int) -> Any:
    if depth > DEPTH:
        raise CodecError(f"nested more than {DEPTH} deep")
    if isinstance(x, np.generic):  # before all else: a numpy bool is no number, a numpy text no text of ours
        x = x.item()
    if x is None or isinstance(x, bool | str):
        return x if type(x) in (type(None), bool, str) else str.__str__(x)
    if isinstance(x, int):
        return int(x)
    if isinstance(x, float):
        return float(x) if math.isfinite(x) else ["float", repr(float(x))]
    if isinstance(x, torch.Tensor | np.ndarray):
        return _pack_array(x, blobs)
    if isinstance(x, bytes):
        blobs.append(bytes.__bytes__(x))
        return ["bytes", len(blobs[-1]), sum(map(len, blobs[:-1]))]
    if isinstance(x, tuple | list):
        return ["tuple" if isinstance(x, tuple) else "list", [_pack(v, blobs, depth + 1) for v in x]]
    if isinstance(x, dict):
        return ["dict", [[_pack(_key(k), blobs, depth + 1), _pack(v, blobs, depth + 1)] for k, v in x.items()]]
    raise CodecError(f"{type(x).__name__} is not plain data (tensor, array, number, text, bytes; tuple, list, dict of it)")


def _pack_array(x: Any, blobs: list[bytes]) -> list:
    kind, known = ("tensor", TORCH) if isinstance(x, torch.Tensor) else ("ndarray", NUMPY)
    dtype = str(x.dtype).removeprefix("torch.") if kind == "tensor" else x.dtype.name  # whatever its byte order
    if dtype not in known or (kind == "tensor" and (x.layout is not torch.strided or x.device.type == "meta")):
        raise CodecError(f"a {kind} of dtype {dtype} cannot be handed over; legal: {', '.join(known)}, dense")
    if kind == "tensor":
        x = x.detach().resolve_conj().resolve_neg().cpu().contiguous()
        raw = x.reshape(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b""
    else:
        raw = np.ascontiguousarray(x, dtype=known[dtype]).tobytes()
    offset = sum(map(len, blobs))
    blobs.append(raw)
    return [kind, dtype, list(x.shape), offset]


def decode(data: bytes, header: int | None = None) -> Any:
    """The value of one message. Raises CodecError, and nothing else, for bytes that are not one.

    header: bytes that everything but the tensors may take; give HEADER for what comes from a student's process.
    """
    size = int.from_bytes(data[:4], "little")
    if len(data) < 4 or size > len(data) - 4:
        raise CodecError(f"a header of {size} bytes in a message of {len(data)}")
    if header is not None and size > header:
        raise CodecError(f"{size:,} bytes that are not tensors; at most {header:,}")
    try:
        tree = json.loads(data[4 : 4 + size], parse_constant=_no_constant)
        return _unpack(tree, memoryview(data)[4 + size :], [0, len(data) - 4 - size], 0)
    except CodecError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError, MemoryError, RuntimeError, KeyError) as e:
        raise CodecError(f"malformed message: {type(e).__name__}: {str(e)[:200]}") from None


def _no_constant(name: str):
    raise CodecError(f"{name} outside of a float")


def _unpack(x: Any, blob: memoryview, count: list[int], depth: int) -> Any:
    count[0] += 1
    if count[0] > NODES or depth > DEPTH:
        raise CodecError(f"more than {NODES} values, or nested more than {DEPTH} deep")
    if x is None or isinstance(x, bool | int | float | str):
        return x
    match x:
        case ["float", "inf" | "-inf" | "nan" as text]:
            return float(text)
        case ["tuple" | "list" as kind, list(items)]:
            values = [_unpack(v, blob, count, depth + 1) for v in items]
            return tuple(values) if kind == "tuple" else values
        case ["dict", list(items)]:
            pairs = [(_key(k), _unpack(v, blob, count, depth + 1)) for k, v in items]
            return dict(pairs)
        case ["bytes", int(size), int(offset)]:
            return bytes(_part("bytes", size, offset, blob, count))
        case ["tensor" | "ndarray" as kind, str(dtype), list(shape), int(offset)]:
            return _unpack_array(kind, dtype, shape, offset, blob, count)
    raise CodecError(f"not a value: {str(x)[:80]}")


def _key(k: Any) -> Any:
    if k is None or isinstance(k, bool | int | float | str):
        return k
    raise CodecError("a dict's key must be a number or a text")


def _part(kind: str, size: int, offset: int, blob: memoryview, count: list[int]) -> memoryview:
    """`size` bytes from `offset`; all parts together are no longer than what came."""
    count[1] -= size
    if size < 0 or offset < 0 or offset + size > len(blob) or count[1] < 0:
        raise CodecError(f"a {kind} of {size} bytes at {offset}, but {len(blob)} bytes came")
    return blob[offset : offset + size]


def _unpack_array(kind: str, dtype: str, shape: list, offset: int, blob: memoryview, count: list[int]) -> Any:
    if not all(type(n) is int and 0 <= n < 2**40 for n in shape) or len(shape) > 16 or type(offset) is not int:
        raise CodecError(f"not a shape: {str(shape)[:80]}")
    known = TORCH if kind == "tensor" else NUMPY
    if dtype not in known:
        raise CodecError(f"a {kind} of dtype {dtype[:40]!r}")
    width = known[dtype].itemsize
    size = math.prod(shape) * width
    raw = np.frombuffer(_part(kind, size, offset, blob, count), np.uint8)
    raw = (raw != 0).astype(np.uint8) if dtype == "bool" else raw.copy()
    if kind == "ndarray":
        return raw.view(known[dtype]).reshape(shape)
    return torch.from_numpy(raw).view(known[dtype]).reshape(shape) if size else torch.empty(shape, dtype=known[dtype])
