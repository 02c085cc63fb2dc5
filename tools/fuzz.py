"""Thousands of spoilt files: `python -m tools.fuzz [COUNT [SEED [KIND]]]`: each is refused by name, or read whole.

Three kinds: safetensors, GGUF, and the index of a sharded folder. A case starts from a good file and is spoilt once to
three times: bits flipped, cut short, padded, numbers of the structure replaced, JSON edited as JSON, parts of other
files spliced in. Whatever opens must be whole: every tensor readable with its dtype and shape, inside the file, apart
from the others. What we accept as safetensors, the reference library accepts too.
"""

import json
import random
import struct
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from math import prod
from pathlib import Path

import safetensors
import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.folder import INDEX, weight_files
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.checkpoints.on_disk import BUDGET
from qcourse.checkpoints.safetensors_file import NAMES, SafetensorsFile

NUMBERS = (0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 60,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
VALUES = (
    *NUMBERS,
    -1,
    1.5,
    1e300,
    True,
    None,
    "",
    "x",
    "F32",
    "é",
    [],
    {},
    [0],
    [[[]]],
    [1 << 62] * 3,
    "../x",
    "/etc/passwd",
)
WORDS = (b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\ud800", b"\xff", b"\x00", b"null", b"-", b"e9", b"[" * 99)


def safetensors_bytes(header: dict | bytes, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file from its parts, which need not fit together."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def good_safetensors(rng: random.Random, names=None) -> bytes:
    """One to six tensors of any dtype, an empty or 0-d one among them."""
    header, data = {}, b""
    for i, name in enumerate(names or [f"layers.{i}.weight" for i in range(rng.randint(1, 6))]):
        dtype = rng.choice([d for d in NAMES if hasattr(torch, NAMES[d])])
        shape = rng.choice(([], [0], [3], [2, 4], [1, 2, 3], [4, 0]))
        size = prod(shape) * getattr(torch, NAMES[dtype]).itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(rng.choices((0, 1), k=size))
        if i == 0 and rng.random() < 0.5:
            header["__metadata__"] = {"format": "pt", "é": "\n"}
    return safetensors_bytes(header, data)


def text(s: str | bytes) -> bytes:
    """A GGUF string."""
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def gguf_bytes(
    pairs: list[tuple[str, int, bytes]], tensors: list[tuple[str, list, int, int]], data: bytes, align=32
) -> bytes:
    """A GGUF file from (key, type, value) and (name, dims, type, offset)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    head += b"".join(text(k) + struct.pack("<I", t) + v for k, t, v in pairs)
    for name, dims, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    return head + bytes(-len(head) % align) + data


def good_gguf(rng: random.Random) -> bytes:
    """A few pairs of every value type, and one to four tensors of any block type."""
    align = rng.choice((32, 64))
    strings = struct.pack("<IQ", 8, 3) + text("a") + text("Ġb") + text("")
    pairs = [("general.architecture", 8, text("llama")), ("general.alignment", 4, struct.pack("<I", align))]
    pairs += [("tokens", 9, strings), ("ids", 9, struct.pack("<IQ3i", 5, 3, 1, -2, 3)), ("eps", 6, struct.pack("<f", 1e-5))]
    pairs += [("flags", 9, struct.pack("<IQ3B", 7, 3, 0, 1, 1)), ("add", 7, b"\1"), ("big", 10, struct.pack("<Q", 1 << 63))]
    pairs += [("nested", 9, struct.pack("<IQ", 9, 2) + struct.pack("<IQ2H", 2, 2, 5, 6) + struct.pack("<IQ", 6, 0))]
    tensors, data = [], b""
    for i in range(rng.randint(1, 4)):
        number, block, size = rng.choice(list(GGML_TYPES.values()))
        dims = [block * rng.randint(1, 2), *rng.choice(([], [2], [2, 1]))]
        tensors.append((f"blk.{i}.weight", dims, number, len(data)))
        data += rng.randbytes(prod(dims) // block * size)
        data += bytes(-len(data) % align)
    return gguf_bytes(pairs, tensors, data, align)


def edit_json(value, rng: random.Random):
    """One place of a JSON value replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        fresh = dict(value)
        match rng.randrange(8):
            case 0:
                del fresh[key]
            case 1:
                fresh[rng.choice(("x", key + "x", "__metadata__", "dtype", "shape"))] = fresh.pop(key)
            case 2:
                fresh["extra"] = rng.choice(VALUES)
            case _:
                fresh[key] = edit_json(value[key], rng)
        return fresh
    if isinstance(value, list) and value and rng.random() < 0.8:
        i = rng.randrange(len(value))
        return [*value[:i], edit_json(value[i], rng), *value[i + 1 :]]
    if isinstance(value, int) and rng.random() < 0.4:
        return value + rng.choice((-1, 1, 2, -8, 8))
    return rng.choice((*VALUES, *NAMES))


def json_spoilt(blob: bytes, rng: random.Random, container: bool) -> bytes:
    """The JSON of a file edited as JSON, or a member of it given twice; its length is made to fit again."""
    start, end = (8, 8 + struct.unpack_from("<Q", blob)[0]) if container else (0, len(blob))
    try:
        value = json.loads(blob[start:end])
    except (ValueError, RecursionError, struct.error):
        return bits_spoilt(blob, rng)
    for _ in range(rng.randint(1, 2)):
        value = edit_json(value, rng)
    body = json.dumps(value).encode()
    if rng.random() < 0.15 and isinstance(value, dict) and value:
        key = rng.choice(list(value))
        body = body[:-1] + b", " + json.dumps(key).encode() + b": " + json.dumps(value[key]).encode() + b"}"
    return safetensors_bytes(body, blob[end:]) if container else body


def bits_spoilt(blob: bytes, rng: random.Random) -> bytes:
    """A few bits flipped, or cut short, or longer, or a word of JSON thrown in."""
    out = bytearray(blob or b"\0")
    match rng.randrange(5):
        case 0 | 1:
            for _ in range(rng.randint(1, 8)):
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        case 2:
            del out[rng.randrange(len(out)) :]
        case 3:
            out += rng.randbytes(rng.randint(1, 64))
        case 4:
            at = rng.randrange(len(out))
            out[at : at + rng.randint(0, 3)] = rng.choice(WORDS)
    return bytes(out)


def field_spoilt(blob: bytes, rng: random.Random) -> bytes:
    """A number of the structure replaced: one of the first fields, or the length that stands before some name."""
    out = bytearray(blob)
    size = rng.choice((1, 4, 8, 8))
    places = [
        0,
        4,
        8,
        16,
        24,
        *(i - 8 for w in (b"blk.", b"general", b"tokens", b"ids", b"nested", b"flags") if (i := blob.find(w)) > 8),
    ]
    at = rng.choice(places) if rng.random() < 0.5 else rng.randrange(max(len(blob) // 2, 1))
    old = int.from_bytes(out[at : at + size], "little")
    new = rng.choice((*NUMBERS, old + 1, old - 1, old * 2, old + 32, old - 32)) % (1 << 8 * size)
    out[at : at + size] = new.to_bytes(size, "little")
    return bytes(out)


def spliced(blob: bytes, other: bytes, rng: random.Random) -> bytes:
    """A part of another good file put into this one."""
    a, b = rng.randrange(len(other)), rng.randrange(len(blob) + 1)
    return blob[:b] + other[a : a + rng.randint(1, 200)] + blob[b + rng.choice((0, 8, 50)) :]


def good_index(rng: random.Random) -> bytes:
    """An index of two shards, of the tensors that `Sandbox` has put there."""
    places = {f"w{i}": f"model-0000{1 + i // 2}-of-00002.safetensors" for i in range(4)}
    return json.dumps({"metadata": {"total_size": rng.randrange(99)}, "weight_map": places}).encode()


GOOD = {"safetensors": good_safetensors, "gguf": good_gguf, "index": good_index}


def case(kind: str, rng: random.Random) -> bytes:
    """One spoilt file."""
    blob = GOOD[kind](rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        way = rng.random()
        if way < 0.4 and kind != "gguf":
            blob = json_spoilt(blob, rng, kind == "safetensors") if len(blob) > 8 else blob
        elif way < 0.7:
            blob = field_spoilt(blob, rng)
        elif way < 0.9:
            blob = bits_spoilt(blob, rng)
        else:
            blob = spliced(blob, GOOD[kind](rng), rng)
    return blob


def check_safetensors(path: Path) -> None:
    """Every tensor, its dtype, its shape and its place; and the reference library accepts the file as well."""
    file = SafetensorsFile(path)
    at = None
    for name, entry in sorted(file.tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        assert at in (None, entry.begin)
        at = entry.end
        try:
            tensor = file.read(name)
        except CheckpointError as e:
            assert "BOOL" in str(e), e
            continue
        assert tensor.dtype == entry.dtype and tuple(tensor.shape) == entry.shape and tensor.is_contiguous()
        assert tensor.numel() * tensor.itemsize == entry.end - entry.begin
    assert at in (None, file.disk.size)
    theirs = dict(safetensors.deserialize(path.read_bytes()))
    assert {n: tuple(t["shape"]) for n, t in theirs.items()} == {n: e.shape for n, e in file.tensors.items()}


def check_gguf(path: Path) -> None:
    """Every tensor's rows, and that no two share a byte."""
    file = GGUFFile(path)
    taken = []
    for name, info in file.tensors.items():
        rows = file.rows(name)
        assert rows.dtype == torch.uint8 and rows.numel() == info.nbytes
        _, block, size = GGML_TYPES[info.ggml_type]
        assert prod(info.shape) // block * size == info.nbytes
        taken.append((info.begin, info.begin + info.nbytes))
    taken = sorted(t for t in taken if t[1] > t[0])
    assert all(a[1] <= b[0] for a, b in zip(taken, taken[1:], strict=False))
    assert len(repr(file.metadata)) >= 2


def check_index(path: Path) -> None:
    """Every tensor of every shard."""
    weights = weight_files(path.parent)
    assert {tuple(weights.read(n).shape) == e.shape for n, (_, e) in weights.items()} == {True}


CHECKS = {"safetensors": check_safetensors, "gguf": check_gguf, "index": check_index}


def fuzz(kind: str, count: int, seed: int, folder: Path, traced: bool = False) -> Counter:
    """`count` cases of a kind. Returns how many were read and refused; raises at the first that was neither, naming it."""
    tally, path = Counter(), folder / {"index": INDEX}.get(kind, f"model.{kind}")
    if kind == "index":
        for i in (0, 1):
            names = [f"w{2 * i}", f"w{2 * i + 1}"]
            (folder / f"model-0000{i + 1}-of-00002.safetensors").write_bytes(good_safetensors(random.Random(i), names))
    for i in range(count):
        blob = case(kind, random.Random(f"{kind} {seed} {i}"))
        path.write_bytes(blob)
        if traced:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        try:
            CHECKS[kind](path)
            tally["read"] += 1
        except CheckpointError as e:
            assert str(folder) in str(e), f"{kind} {seed} {i}: {e} does not name the file"
            tally["refused"] += 1
            tally[str(e).split(": ", 2)[-1].translate({ord(c): None for c in "0123456789"})[:24]] += 0
        except BaseException as e:
            raise AssertionError(f"{kind}, seed {seed}, case {i}: {type(e).__name__}: {e}") from e
        if traced:
            peak = tracemalloc.get_traced_memory()[1] - before
            tally["peak"] = max(tally["peak"], peak)
            assert peak < len(blob) + BUDGET, f"{kind}, seed {seed}, case {i}: {peak} bytes for a file of {len(blob)}"
    return tally


def main() -> None:
    """COUNT files of each kind (100,000), from SEED (0), or of the KIND named third only."""
    count, seed, *kinds = [*sys.argv[1:], *("100000", "0")[len(sys.argv) - 1 :]]
    count, seed, kinds = int(count), int(seed), kinds or list(GOOD)
    for kind in kinds:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            tally = fuzz(kind, count, seed, Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            tracemalloc.start()
            peak = fuzz(kind, count // 20, seed + 1, Path(folder), traced=True)["peak"]
            tracemalloc.stop()
        print(f"{kind:12} {count} files: {tally['read']} read, {tally['refused']} refused in {len(tally) - 2} ways, "
              f"{time.monotonic() - began:.0f} s; peak {peak / 1024:.0f} kB over {count // 20} more, traced")  # fmt: skip


if __name__ == "__main__":
    main()
