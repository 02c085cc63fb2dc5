"""GGUF files written here: what is read back is what was given, every place is aligned, and misfits leave no file."""

import struct

import numpy as np
import pytest
import torch

from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.checkpoints.gguf_writer import ALIGNMENT, Written, write_gguf

METADATA = {
    "general.architecture": "llama", "a.count": 7, "a.below": -3, "a.big": 1 << 40, "a.share": 0.5, "a.yes": True,
    "a.text": "naïve — 1", "a.words": ["a", "", "Ġb", "é"], "a.types": np.array([1, 3], np.int32),
    "a.flags": np.array([True, False]), "a.rates": np.array([0.25], np.float32), "a.none": [],
}  # fmt: skip


def bytes_of(kind: str, N: int, K: int) -> Written:
    _, block, size = GGML_TYPES[kind]
    data = torch.randint(0, 256, (N, K // block * size), dtype=torch.uint8)
    return Written(kind, (N, K), lambda: data)


def test_metadata_and_every_type_come_back(tmp_path):
    given = {f"t.{kind}": bytes_of(kind, 3, 512) for kind in GGML_TYPES}
    given |= {"norm": Written("F32", (5,), lambda: torch.arange(5.0)), "one": bytes_of("F16", 1, 1)}
    path = tmp_path / "x.gguf"
    assert write_gguf(path, METADATA, given) == path.stat().st_size
    file = GGUFFile(path)
    assert list(file.metadata) == list(METADATA) and list(file.tensors) == list(given)
    for key, value in METADATA.items():
        found = file.metadata[key]
        same = (
            np.array_equal(found, value) and found.dtype == value.dtype if isinstance(value, np.ndarray) else found == value
        )
        assert same, key
    for name, t in given.items():
        info = file.tensors[name]
        assert (info.ggml_type, info.shape, info.nbytes) == (t.ggml_type, t.shape, t.nbytes)
        assert torch.equal(file.rows(name).flatten(), t.make().flatten().view(torch.uint8))
    begins = [info.begin for info in file.tensors.values()]
    assert all((b - begins[0]) % ALIGNMENT == 0 for b in begins) and begins[0] % ALIGNMENT == 0


def test_the_smallest_file_is_the_specification_written_out(tmp_path):
    path = tmp_path / "x.gguf"
    write_gguf(path, {"k": 1}, {"w": Written("F32", (1, 2), lambda: torch.tensor([1.0, 2.0]))})
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<II", 4, 1)
    head += struct.pack("<Q", 1) + b"w" + struct.pack("<IQQIQ", 2, 2, 1, 0, 0)
    head += bytes(-len(head) % 32)
    data = struct.pack("<2f", 1, 2)
    assert path.read_bytes() == head + data + bytes(-len(data) % 32)


@pytest.mark.parametrize(
    ("metadata", "tensor", "said"),
    [
        ({}, Written("Q4_0", (2, 48), lambda: None), "tensor 'w': Q4_0 has blocks of 32 weights, which do not divide K=48"),
        ({}, Written("Q9", (2, 32), lambda: None), "tensor 'w': GGUF type 'Q9': one of F32"),
        ({}, Written("Q4_0", (2, 32), lambda: torch.zeros(3)), "tensor 'w': 12 bytes were made, 36 promised"),
        ({"k": None}, Written("F32", (1,), lambda: torch.zeros(1)), "k = None: str, bool, int, float"),
        ({"k": [1, "a"]}, Written("F32", (1,), lambda: torch.zeros(1)), "k = .* expected"),
    ],
)
def test_what_does_not_fit_leaves_no_file(tmp_path, metadata, tensor, said):
    with pytest.raises((ValueError, TypeError), match=said):
        write_gguf(tmp_path / "x.gguf", metadata, {"w": tensor})
    assert not (tmp_path / "x.gguf").exists()
