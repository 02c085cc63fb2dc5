"""The safetensors container: what the library writes is read bit for bit; what is wrong costs an error and no memory."""

import json
import os
import struct
import tracemalloc

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.on_disk import BUDGET
from qcourse.checkpoints.safetensors_file import DTYPES, SafetensorsFile
from tools.fuzz import safetensors_bytes

ONE = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def spoil(**fields):
    return {"w": {k: v for k, v in (ONE | fields).items() if v != "absent"}}


def test_every_dtype_that_the_library_writes(tmp_path):
    save_file({}, tmp_path / "none.safetensors")
    assert SafetensorsFile(tmp_path / "none.safetensors").tensors == {}
    tensors = {}
    for name, dtype in DTYPES.items():
        raw = torch.randint(0, 2 if name == "BOOL" else 256, (6 * dtype.itemsize,), dtype=torch.uint8)
        tensors[name] = raw.view(dtype).reshape(2, 3)
    tensors |= {"scalar": torch.tensor(3.0), "empty": torch.empty(0, 5), "é \n": torch.ones(1)}
    tensors.pop("F8_E8M0", None)  # the library reads it, but has no name for it to write; below by hand
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt", "π": 'a"\\\n'})
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert file.metadata == {"format": "pt", "π": 'a"\\\n'} and file.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        got = file.read(name)
        assert got.dtype == tensor.dtype and got.shape == tensor.shape
        assert torch.equal(got.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    got[...] = 0  # memory of its own
    assert file.read(name).eq(tensors[name]).all()


@pytest.mark.skipif("F8_E8M0" not in DTYPES, reason="this torch has no float8_e8m0fnu")
def test_e8m0_by_hand(tmp_path):
    (tmp_path / "x").write_bytes(
        safetensors_bytes({"s": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}, b"\x7f\x80")
    )
    assert SafetensorsFile(tmp_path / "x").read("s").float().tolist() == [1.0, 2.0]


TEXT = json.dumps(spoil()).encode()
FULL = bytes(16)
HOSTILE = {
    "empty file": (b"", "empty"),
    "short": (b"\2\0\0", "too short"),
    "header beyond the file": (safetensors_bytes(TEXT, FULL, 1000), "header of 1000 bytes"),
    "header of 2^60": (safetensors_bytes(TEXT, FULL, 1 << 60), "header of 1152921504606846976 bytes"),
    "header of nothing": (safetensors_bytes(TEXT, FULL, 0), "header of 0"),
    "a space first": (safetensors_bytes(b" " + TEXT, FULL), r"expected '\{'"),
    "an array": (safetensors_bytes(b"[]", FULL), r"expected '\{'"),
    "a pickle": (b"\x80\x04\x95" + bytes(100), "not a safetensors"),
    "not JSON": (safetensors_bytes(b"{nothing}", FULL), "a name"),
    "no end": (safetensors_bytes(TEXT[:-1], FULL), r"',' or '\}'"),
    "something after": (safetensors_bytes(TEXT + b"{}", FULL), "only spaces"),
    "not UTF-8": (safetensors_bytes(b'{"\xff\xfe": {}}', FULL), "UTF-8"),
    "a lone surrogate": (safetensors_bytes(b'{"\\ud800": {}}', FULL), "UTF-8"),
    "a control character": (safetensors_bytes(b'{"a\nb": {}}', FULL), "a name"),
    "the name twice": (safetensors_bytes(TEXT[:-1] + b"," + TEXT[1:], FULL), "'w' is given twice"),
    "the name twice, escaped": (safetensors_bytes(TEXT[:-1] + b"," + TEXT[1:].replace(b'"w"', b'"\\u0077"'), FULL), "twice"),
    "a field twice": (safetensors_bytes(TEXT.replace(b'"shape"', b'"dtype":"F32","shape"'), FULL), "'dtype' is given twice"),
    "metadata twice": (safetensors_bytes(b'{"__metadata__":{},"__metadata__":{}}', b""), "twice"),
    "metadata of numbers": (safetensors_bytes({"__metadata__": {"a": 1}}, b""), "__metadata__: expected the value of 'a'"),
    "metadata within": (safetensors_bytes({"__metadata__": {"a": {}}}, b""), "the value of 'a'"),
    "metadata of null": (safetensors_bytes({"__metadata__": None}, b""), "an object"),
    "nesting": (safetensors_bytes(b'{"w":' + b"[" * 10**5, b""), "tensor 'w': expected the tensor"),
    "nested shape": (safetensors_bytes(spoil(shape=[[2, 2]]), FULL), "shape"),
    "unknown field": (safetensors_bytes(spoil(strides=[1]), FULL), "unknown field 'strides'"),
    "no dtype": (safetensors_bytes(spoil(dtype="absent"), FULL), "dtype is missing"),
    "no shape": (safetensors_bytes(spoil(shape="absent"), FULL), "shape is missing"),
    "no offsets": (safetensors_bytes(spoil(data_offsets="absent"), FULL), "data_offsets is missing"),
    "unknown dtype": (safetensors_bytes(spoil(dtype="F99"), FULL), "dtype 'F99'"),
    "half a byte": (safetensors_bytes(spoil(dtype="F4"), FULL), "dtype 'F4'"),
    "dtype a number": (safetensors_bytes(spoil(dtype=3), FULL), "dtype"),
    "negative": (safetensors_bytes(spoil(shape=[-2, -2]), FULL), r"shape \(an integer"),
    "a float": (safetensors_bytes(spoil(shape=[2.0, 2]), FULL), r"shape \(an integer"),
    "an exponent": (safetensors_bytes(TEXT.replace(b"[2, 2]", b"[4e0]"), FULL), r"shape \(an integer"),
    "a bool": (safetensors_bytes(spoil(shape=[True, 4]), FULL), r"shape \(an integer"),
    "a string": (safetensors_bytes(spoil(shape=["2", 2]), FULL), r"shape \(an integer"),
    "null": (safetensors_bytes(spoil(shape=None), FULL), "shape"),
    "leading zero": (safetensors_bytes(TEXT.replace(b"[2, 2]", b"[02, 2]"), FULL), r"shape \(an integer"),
    "2^64": (safetensors_bytes(spoil(shape=[1 << 64]), FULL), "shape"),
    "10^400": (safetensors_bytes(spoil(shape=[10**400]), FULL), "shape"),
    "product overflows": (safetensors_bytes(spoil(shape=[1 << 32, 1 << 32]), FULL), "overflows"),
    "product overflows to 16": (safetensors_bytes(spoil(shape=[(1 << 62) + 1, 4]), FULL), "overflows"),
    "empty, but overflows": (safetensors_bytes(spoil(shape=[0, 1 << 62, 1 << 62], data_offsets=[0, 0]), b""), "overflows"),
    "99 dimensions": (safetensors_bytes(spoil(shape=[1] * 99), FULL), "at most 16"),
    "bytes and shape": (safetensors_bytes(spoil(shape=[2, 3]), FULL), "takes 24 bytes"),
    "backwards": (safetensors_bytes(spoil(data_offsets=[16, 0]), FULL), r"expected \[begin, end\]"),
    "three offsets": (safetensors_bytes(spoil(data_offsets=[0, 16, 32]), FULL), "at most 2"),
    "one offset": (safetensors_bytes(spoil(data_offsets=[16]), FULL), r"expected \[begin, end\]"),
    "beyond the file": (safetensors_bytes(spoil(data_offsets=[1 << 60, (1 << 60) + 16]), FULL), "cut short"),
    "cut short": (safetensors_bytes(spoil(), bytes(15)), "cut short"),
    "overlap": (safetensors_bytes(spoil() | {"v": ONE | {"data_offsets": [8, 24]}}, bytes(24)), "inside tensor 'w'"),
    "twins": (safetensors_bytes(spoil() | {"v": ONE}, FULL), "inside"),
    "hole": (safetensors_bytes(spoil() | {"v": ONE | {"data_offsets": [20, 36]}}, bytes(36)), "'v' begins at byte"),
    "hole in front": (
        safetensors_bytes(spoil(data_offsets=[4, 20]), bytes(20)),
        "'w' begins at byte .* but the header ends",
    ),
    "more data": (safetensors_bytes(spoil(), bytes(17)), "the last tensor ends"),
    "empty within": (
        safetensors_bytes(spoil() | {"v": {**ONE, "shape": [0], "data_offsets": [8, 8]}}, FULL),
        "'v' begins at byte",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error_that_names_file_and_place(name, tmp_path):
    blob, message = HOSTILE[name]
    (tmp_path / "x.safetensors").write_bytes(blob)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as e:
        SafetensorsFile(tmp_path / "x.safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "x.safetensors" in str(e.value) and peak < 2 * len(blob) + (1 << 16)  # an exception and its text: kilobytes


MILLION = 1 << 20
BOMBS = {
    "empty lists": b'{"w":{"shape":[' + b"[]," * MILLION + b"[]]}}",
    "small numbers": b'{"w":{"shape":[' + b"0," * MILLION + b"0]}}",
    "a long name": b'{"' + b"a" * (4 * MILLION) + b'":{}}',
    "a long digit string": b'{"w":{"shape":[' + b"9" * (4 * MILLION) + b"]}}",
    "escapes": b'{"' + b"\\n" * (4 * MILLION) + b'":{}}',
    "one emoji in a long value": b'{"__metadata__":{"a":"' + "🙂".encode() + b"a" * (4 * MILLION) + b'"}}',
    "many values": b'{"__metadata__":{' + b",".join(b'"%x":""' % i for i in range(60_000)) + b"}}",
    "many empty tensors": b"{" + b",".join(
        b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(20_000)) + b"}",
    "spaces": b"{" + b" " * (4 * MILLION) + b"x}",
    "fields": b'{"w":{' + b",".join(b'"%x":0' % i for i in range(60_000)) + b"}}",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_would_grow_in_memory_does_not(name, tmp_path):
    blob = safetensors_bytes(BOMBS[name], b"")
    (tmp_path / "x").write_bytes(blob)
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        SafetensorsFile(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(blob) + BUDGET + (1 << 20)


def test_many_small_tensors_are_no_bomb(tmp_path):
    save_file({f"model.layers.{i}.scale": torch.tensor([float(i)]) for i in range(5000)}, tmp_path / "x")
    file = SafetensorsFile(tmp_path / "x")
    assert len(file.tensors) == 5000 and file.read("model.layers.7.scale").item() == 7


def test_a_bool_is_0_or_1(tmp_path):
    (tmp_path / "x").write_bytes(safetensors_bytes({"b": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}, b"\1\2"))
    with pytest.raises(CheckpointError, match="'b' is BOOL"):
        SafetensorsFile(tmp_path / "x").read("b")
    with pytest.raises(CheckpointError, match="'c' is missing"):
        SafetensorsFile(tmp_path / "x").read("c")


def test_fields_in_any_order_and_spaces_anywhere(tmp_path):
    head = b'{ "v" :\n{"data_offsets":[0 , 2],\t"shape": [ 2 ], "dtype":"\\u00558"} , "__metadata__" : { } }   '
    blob = safetensors_bytes(head, b"\5\6")
    (tmp_path / "x").write_bytes(blob)
    assert SafetensorsFile(tmp_path / "x").read("v").tolist() == [5, 6]
    assert bytes(dict(safetensors.deserialize(blob))["v"]["data"]) == b"\5\6"


def test_only_a_regular_file_that_stays_the_same(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none", "/dev/zero", tmp_path / "a\0b"):
        with pytest.raises(CheckpointError):
            SafetensorsFile(path)
    save_file({"w": torch.ones(64)}, tmp_path / "x")
    file = SafetensorsFile(tmp_path / "x")
    os.truncate(tmp_path / "x", 200)
    with pytest.raises(CheckpointError, match="changed while"):
        file.read("w")


def test_the_length_is_little_endian():
    assert struct.unpack("<Q", safetensors_bytes({}, b"")[:8]) == (2,)
