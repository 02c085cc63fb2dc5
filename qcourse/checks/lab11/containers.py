"""11.6 read_safetensors(data, name) → the tensor: length, header, and offsets that count from the header's end."""

import json
import math
import struct

import torch

from qcourse.checks import draw
from qcourse.checks.lab11.containers_mistakes import MISTAKES
from qcourse.checks.lab11.containers_variants import TORCH
from qcourse.checks.task import Property, Refuse, Task
from qcourse.shapes import Tensor

NAMES = {dtype: name for name, dtype in TORCH.items()}


def expected(data: bytes, name: str) -> Tensor:
    """Number by number."""
    (n,) = struct.unpack_from("<Q", data)
    entry = json.loads(data[8 : 8 + n].decode()).get(name)
    if entry is None:
        raise Refuse(f"there is no {name!r}")
    dtype, (begin, end) = TORCH[entry["dtype"]], entry["data_offsets"]
    if begin < 0 or 8 + n + end > len(data):
        raise Refuse(f"{name!r} does not lie in the file")
    if end - begin != math.prod(entry["shape"]) * dtype.itemsize:
        raise Refuse(f"{name!r}: {end - begin} bytes are not {entry['dtype']} {entry['shape']}")
    raw = torch.tensor(list(data[8 + n + begin : 8 + n + end]), dtype=torch.uint8)
    return raw.view(dtype).reshape(entry["shape"])


def numbers(g, name: str, *shape: int) -> Tensor:
    """Numbers of a dtype; of whole ones some are negative, or beyond 127."""
    dtype = TORCH[name]
    if dtype.is_floating_point:
        return draw.normal(g, *(shape or (1,)), dtype=dtype).reshape(shape)
    low, high = {"U8": (128, 255), "I8": (-128, -1), "I32": (-(2**31), 2**31 - 1)}[name]
    return draw.codes(g, low, high, *shape, dtype=dtype)


def container(g, tensors: dict[str, Tensor], metadata: bool = False, changed: dict | None = None, cut: int = 0) -> bytes:
    """A file of these tensors, in this order; its header names them in another. changed: fields of the header that are
    not true, by name; cut: bytes that are missing at the end."""
    entries, body = {}, b""
    for name, t in tensors.items():
        raw = t.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        entries[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    for name, fields in (changed or {}).items():
        entries[name] |= fields
    header = {"__metadata__": {"format": "pt"}} if metadata else {}
    header |= {name: entries[name] for name in (*list(entries)[1:], next(iter(entries)))}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return (struct.pack("<Q", len(text)) + text + body)[: -cut or None]


def named(g, kinds: str, shapes: tuple) -> dict[str, Tensor]:
    """Three tensors or more: a, b, …"""
    return {f"{'abcdef'[i]}.weight": numbers(g, kind, *shapes[i]) for i, kind in enumerate(kinds.split())}


def asked(g, kinds: str, which: str, shapes: tuple = ((2, 3), (3, 3), (4, 2)), **how) -> list[tuple]:
    """The file, and the question to each of `which`."""
    data = container(g, named(g, kinds, shapes), **how)
    return [(data, f"{letter}.weight") for letter in which]


def without_axes(g) -> list[tuple]:
    """[] and [n]; and metadata in front."""
    shapes = ((), (draw.integer(g, 3, 6),), (1, 2, 3))
    return asked(g, "F32 F32 F32", "abc", shapes, metadata=True)


def absent(g) -> list[tuple]:
    """Names that are nearly there."""
    data = container(g, named(g, "F32 F32 F32", ((2, 3), (3, 3), (4, 2))), metadata=True)
    return [(data, "d.weight"), (data, "a.bias"), (data, "weight")]


def other_sizes(g) -> list[tuple]:
    """Offsets in the file that hold more, or less, than the shape says; a dtype of another width."""
    start = 24  # where b begins, and its 36 bytes end at 60
    lies = (
        {"data_offsets": [start, 60 + 4 * draw.integer(g, 1, 5)]},
        {"data_offsets": [start, 60 - 4 * draw.integer(g, 1, 5)]},
        {"dtype": "F16"},
        {"shape": [3, 2]},
    )
    return [case for lie in lies for case in asked(g, "F32 F32 F32", "b", changed={"b.weight": lie})]


def before(g) -> list[tuple]:
    """Offsets that begin in the header."""
    found = []
    for begin in (-8, -4 * draw.integer(g, 3, 6)):
        found += asked(g, "F32 F32 F32", "a", changed={"a.weight": {"data_offsets": [begin, begin + 24]}})
    return found


def behind(g) -> list[tuple]:
    """Offsets that end behind the file; a file that was cut short."""
    more = 4 * draw.integer(g, 1, 4)
    lie = {"data_offsets": [60 + more, 92 + more]}
    return [
        *asked(g, "F32 F32 F32", "c", changed={"c.weight": lie}),
        *asked(g, "F32 F32 F32", "c", cut=4 * draw.integer(g, 1, 7)),
    ]


READ_SAFETENSORS = Task(
    id="11.6",
    function="read_safetensors",
    title="The container, from its first byte",
    points=5,
    expected=expected,
    properties=(
        Property("float32", lambda g: asked(g, "F32 F32 F32", "abc"), 2),
        Property("16 bits", lambda g: asked(g, "F16 BF16 F16 BF16", "abcd", ((2, 3), (3, 3), (4, 2), (5,))), 2),
        Property("whole numbers", lambda g: asked(g, "I32 U8 I8", "abc")),
        Property("a number without axes; metadata", without_axes),
        Property("a name that is not there is refused", absent),
        Property("offsets that do not fit shape and dtype are refused", other_sizes),
        Property("offsets before the data are refused", before),
        Property("offsets behind the end are refused", behind),
    ),
    mistakes=MISTAKES,
    hint="Eight bytes are a number: `int.from_bytes` reads it. As many bytes after it are JSON, and where they end, all "
    "offsets begin. Before you cut: does the piece lie in the file, and is it as long as shape and dtype say?",
    returns=("tensor",),
)
