"""The GGUF container: a file of every value type is read; what is wrong costs an error and no memory."""

import random
import struct
import tracemalloc

import numpy as np
import pytest
import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.checkpoints.gguf_values import Strings
from qcourse.checkpoints.on_disk import BUDGET
from tools.fuzz import gguf_bytes, text

u32, u64 = (lambda *x: struct.pack(f"<{len(x)}I", *x)), (lambda *x: struct.pack(f"<{len(x)}Q", *x))


def array(kind, count, items=b""):
    return u32(kind) + u64(count) + items


def test_every_value_type(tmp_path):
    scalars = {"u8": (0, "B", 200), "i8": (1, "b", -3), "u16": (2, "H", 60000), "i16": (3, "h", -5),
               "u32": (4, "I", 1 << 31),
               "i32": (5, "i", -7), "f32": (6, "f", 0.5),
               "u64": (10, "Q", 1 << 63), "i64": (11, "q", -9), "f64": (12, "d", 0.1)}  # fmt: skip
    pairs = [(k, kind, struct.pack("<" + code, v)) for k, (kind, code, v) in scalars.items()]
    pairs += [
        ("bool", 7, b"\1"),
        ("str", 8, text("é")),
        ("none", 9, array(5, 0)),
        ("strings", 9, array(8, 3, text("a") + text("") + text("Ġ"))),
    ]
    pairs += [("floats", 9, array(6, 2, struct.pack("<2f", 1, 2))), ("bools", 9, array(7, 2, b"\0\1"))]
    pairs += [("nested", 9, array(9, 2, array(0, 2, b"\1\2") + array(8, 1, text("x"))))]
    (tmp_path / "x.gguf").write_bytes(gguf_bytes(pairs, [], b""))
    found = GGUFFile(tmp_path / "x.gguf").metadata
    assert {k: found[k] for k in scalars} == {k: v for k, (_, _, v) in scalars.items()}
    assert found["bool"] is True and found["str"] == "é" and found["none"].shape == (0,)
    assert found["strings"] == ["a", "", "Ġ"] and isinstance(found["strings"], Strings) and found["strings"][-1] == "Ġ"
    assert found["strings"][1:] == ["", "Ġ"] and found["strings"] != ["a"] and "3 in all" in repr(found["strings"])
    assert (
        found["floats"].tolist() == [1, 2]
        and found["floats"].dtype == np.float32
        and found["bools"].tolist() == [False, True]
    )
    assert found["nested"][0].tolist() == [1, 2] and found["nested"][1] == ["x"]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("align", [32, 8, 256])
def test_rows_of_every_type(version, align, tmp_path):
    tensors, data, want = [], b"", {}
    for name, (number, block, size) in GGML_TYPES.items():
        raw = random.Random(name).randbytes(3 * 2 * size)
        tensors.append((name, [2 * block, 3], number, len(data)))
        want[name] = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(3, 2 * size)
        data += raw + bytes(-len(raw) % align)
    tensors += [("norm", [5], 0, len(data)), ("cube", [2, 3, 4], 0, len(data) + 256), ("scalar", [], 0, len(data) + 512)]
    data += bytes(800)
    blob = bytearray(gguf_bytes([("general.alignment", 4, u32(align))], tensors, data, align))
    blob[4] = version
    (tmp_path / "x.gguf").write_bytes(blob)
    file = GGUFFile(tmp_path / "x.gguf")
    for name, rows in want.items():
        assert torch.equal(file.rows(name), rows) and file.tensors[name].shape == (3, 2 * GGML_TYPES[name][1])
    assert file.rows("norm").shape == (1, 20) and file.tensors["cube"].shape == (4, 3, 2)
    assert file.rows("cube").shape == (12, 8) and file.rows("scalar").shape == (1, 4)
    with pytest.raises(CheckpointError, match="'x' is missing"):
        file.rows("x")


T = [("w", [32, 2], 2, 0)]
D = bytes(64)
GOOD = gguf_bytes([], T, D)
PAIR = u32(3) + u64(0, 1)


def edit(at, new, blob=GOOD):
    return blob[:at] + new + blob[at + len(new) :]


HOSTILE = {
    "empty": (b"", "empty"),
    "GGU": (b"GGU", "not a GGUF file"),
    "magic": (b"GGML" + GOOD[4:], "not a GGUF file"),
    "cut in the counts": (GOOD[:12], "the tensor count|the pair count"),
    "version 1": (edit(4, u32(1)), "version 1"),
    "version 4": (edit(4, u32(4)), "version 4"),
    "version 0": (edit(4, u32(0)), "version 0"),
    "big-endian": (edit(4, b"\0\0\0\3"), "big-endian"),
    "2^60 tensors": (edit(8, u64(1 << 60)), "1152921504606846976 tensors"),
    "2^64 - 1 pairs": (edit(16, u64((1 << 64) - 1)), "metadata pairs"),
    "one tensor too many": (edit(8, u64(2)), "tensor 1|tensor ''"),
    "key of 2^60": (b"GGUF" + PAIR + u64(1 << 60) + bytes(64), "a string of 1152921504606846976 bytes"),
    "key beyond the file": (b"GGUF" + PAIR + u64(60000) + bytes(64), "a key"),
    "value of 2^60": (gguf_bytes([("a", 8, u64(1 << 60))], T, D), "metadata 'a'"),
    "value type 13": (gguf_bytes([("a", 13, u64(1))], T, D), "value type 13"),
    "array of type 99": (gguf_bytes([("a", 9, array(99, 1))], T, D), "array of type 99"),
    "array of 2^60": (gguf_bytes([("a", 9, array(5, 1 << 60))], T, D), "1152921504606846976 × 4"),
    "array of 2^64 - 1 strings": (gguf_bytes([("a", 9, array(8, (1 << 64) - 1))], T, D), "× 8 bytes"),
    "array of 2^62 arrays": (gguf_bytes([("a", 9, array(9, 1 << 62))], T, D), "× 12 bytes"),
    "string of 2^60 in an array": (gguf_bytes([("a", 9, array(8, 1, u64(1 << 60)))], T, D), "string 0"),
    "arrays in arrays": (gguf_bytes([("a", 9, array(9, 1) * 50 + array(0, 0))], T, D), "deep"),
    "bool of 2": (gguf_bytes([("a", 7, b"\2")], T, D), "a bool of 2"),
    "bools of 3": (gguf_bytes([("a", 9, array(7, 2, b"\1\3"))], T, D), "a bool of 3"),
    "not UTF-8": (gguf_bytes([("a", 8, text(b"\xff"))], T, D), "UTF-8"),
    "key not UTF-8": (gguf_bytes([(b"\xff", 0, b"\1")], T, D), "UTF-8"),
    "item not UTF-8": (gguf_bytes([("a", 9, array(8, 1, text(b"\xff")))], T, D), "string 0 is not UTF-8"),
    "key twice": (gguf_bytes([("a", 0, b"\1"), ("a", 0, b"\1")], T, D), "'a' is given twice"),
    "name twice": (gguf_bytes([], T + [("w", [32, 1], 2, 64)], bytes(128)), "'w': is described twice"),
    "name of 2^60": (edit(24, u64(1 << 60)), "tensor 0"),
    "alignment 0": (gguf_bytes([("general.alignment", 4, u32(0))], T, D), "power of two"),
    "alignment 24": (gguf_bytes([("general.alignment", 4, u32(24))], T, D), "power of two"),
    "alignment a string": (gguf_bytes([("general.alignment", 8, text("32"))], T, D), "uint32"),
    "alignment beyond the file": (gguf_bytes([("general.alignment", 4, u32(1 << 31))], T, D), "cut short"),
    "offset 4": (gguf_bytes([], [("w", [32, 1], 2, 4)], D), "not a multiple"),
    "offset 2^60": (gguf_bytes([], [("w", [32, 1], 2, 1 << 60)], D), "cut short"),
    "offset near 2^64": (gguf_bytes([], [("w", [32, 1], 2, (1 << 64) - 32)], D), "cut short"),
    "five dimensions": (gguf_bytes([], [("w", [32] + [1] * 4, 2, 0)], D), "5 dimensions"),
    "2^32 - 1 dimensions": (edit(33, u32((1 << 32) - 1)), "4294967295 dimensions"),
    "product overflows": (gguf_bytes([], [("w", [1 << 32, 1 << 32], 2, 0)], D), "overflows"),
    "product overflows to 64": (gguf_bytes([], [("w", [1 << 63, 2, 1, 64], 0, 0)], D), "overflows"),
    "empty, but overflows": (gguf_bytes([], [("w", [1 << 63, 0, 1 << 63], 0, 0)], D), "overflows"),
    "K and the block": (gguf_bytes([], [("w", [33, 1], 2, 0)], D), "do not divide K=33"),
    "0-d of blocks": (gguf_bytes([], [("w", [], 2, 0)], D), "do not divide K=1"),
    "known type": (gguf_bytes([], [("w", [256, 1], 23, 0)], bytes(512)), "IQ4_XS is known but not read"),
    "unknown type": (gguf_bytes([], [("w", [256, 1], 999, 0)], bytes(512)), "type 999"),
    "cut short": (GOOD[:-30], "cut short"),
    "overlap": (gguf_bytes([], [*T, ("v", [32, 2], 2, 32)], bytes(96)), "inside tensor 'w'"),
    "twins": (gguf_bytes([], [*T, ("v", [32, 2], 2, 0)], D), "inside"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error_that_names_file_and_place(name, tmp_path):
    blob, message = HOSTILE[name]
    (tmp_path / "x.gguf").write_bytes(blob)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as e:
        GGUFFile(tmp_path / "x.gguf")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "x.gguf" in str(e.value) and peak < 2 * len(blob) + (1 << 16)


BOMBS = {
    "empty arrays": [("a", 9, array(9, 60_000, array(0, 0) * 60_000))],
    "empty strings, and twice as many": [("a", 9, array(8, 200_000, text("") * 200_000)), ("b", 0, b"\1"), ("b", 0, b"\1")],
    "one long string of an array": [("a", 9, array(8, 1, text("🙂" + "a" * 6_000_000)))],
    "a long value": [("a", 8, text("🙂" + "a" * 18_000_000))],
    "small pairs": [(f"{i:x}", 0, b"\1") for i in range(40_000)],
    "arrays of one": [(f"{i:x}", 9, array(0, 1, b"\1")) for i in range(30_000)],
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_would_grow_in_memory_does_not(name, tmp_path):
    blob = gguf_bytes(BOMBS[name], [], b"")
    (tmp_path / "x").write_bytes(blob)
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        GGUFFile(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(blob) + BUDGET + (1 << 20)


def test_a_large_vocabulary_is_no_bomb(tmp_path):
    """Nothing but tokens and merges, as in files that hold a tokenizer only: more strings than a list could afford."""
    words = b"".join(text(f"{i:05x}") for i in range(300_000))
    (tmp_path / "x").write_bytes(gguf_bytes([("tokens", 9, array(8, 300_000, words))], [], b""))
    tokens = GGUFFile(tmp_path / "x").metadata["tokens"]
    assert len(tokens) == 300_000 and tokens[0x1234] == "01234"
