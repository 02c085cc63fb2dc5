"""Our reading of GGUF beside gguf-py and libgguf: the same bytes, the same values, and files that gguf-py wrote."""

import numpy as np
import pytest
import torch

gguf = pytest.importorskip("gguf")

from qcourse.checkpoints.gguf_file import GGUFFile  # noqa: E402
from qcourse.checkpoints.gguf_types import GGML_TYPES, NOT_READ  # noqa: E402
from qcourse.numerics.quantize import dequantize  # noqa: E402
from qcourse.packing.gguf import BLOCKS  # noqa: E402
from qcourse.packing.gguf_layout import GGUF_ARGS  # noqa: E402
from qcourse.packing.packed import LAYOUTS  # noqa: E402


def values(raw, kind):
    """What our layout and our dequantize make of the bytes."""
    K = raw.shape[-1] // BLOCKS[kind].bytes * BLOCKS[kind].weights
    return dequantize(LAYOUTS["gguf"].unpack({"blocks": raw}, GGUF_ARGS[kind], raw.shape[0], K))


def rows(kind, N=16, blocks=8):
    """Random bytes; the float16 fields are made finite, because NaN equals nothing."""
    block = BLOCKS[kind]
    raw = torch.randint(0, 256, (N, blocks, block.bytes), dtype=torch.uint8)
    at = 0
    for name, size in block.fields.items():
        if name in ("d", "m", "dmin"):
            raw[..., at : at + 2] = (torch.randn(N, blocks, 1) * 0.1).half().view(torch.uint8)
        at += size
    return raw.flatten(-2)


def test_sizes_and_numbers():
    for kind, (number, block, size) in GGML_TYPES.items():
        theirs = gguf.GGMLQuantizationType[kind]
        assert (theirs.value, *gguf.GGML_QUANT_SIZES[theirs]) == (number, block, size)
    assert {t.value: t.name for t in gguf.GGMLQuantizationType if t.name not in GGML_TYPES}.items() <= NOT_READ.items()


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_same_values_as_gguf_py(kind):
    raw = rows(kind)
    theirs = gguf.dequantize(raw.numpy(), gguf.GGMLQuantizationType[kind])
    assert torch.equal(values(raw, kind), torch.from_numpy(theirs))


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_file_of_gguf_py(kind, tmp_path):
    raw, bf16 = rows(kind).numpy(), torch.randn(3, 5).bfloat16().view(torch.uint8).numpy()
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_context_length(99)
    writer.add_token_list(["a", "Ġb", "é"])
    writer.add_token_types([1, 1, 3])
    writer.add_chat_template("{{ x }}")
    writer.add_array("llama.rope", [0.5, 1.0])
    writer.add_tensor("w", raw, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.add_tensor("norm", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("h", bf16, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(tmp_path / "x.gguf")
    assert file.metadata["general.architecture"] == "llama" and file.metadata["llama.context_length"] == 99
    assert (
        file.metadata["tokenizer.ggml.tokens"] == ["a", "Ġb", "é"] and file.metadata["tokenizer.chat_template"] == "{{ x }}"
    )
    assert file.metadata["tokenizer.ggml.token_type"].tolist() == [1, 1, 3] and file.metadata["llama.rope"].tolist() == [
        0.5,
        1,
    ]
    assert file.tensors["w"].ggml_type == kind and file.tensors["w"].shape == (16, 8 * BLOCKS[kind].weights)
    assert np.array_equal(file.rows("w").numpy(), raw) and np.array_equal(file.rows("h").numpy(), bf16)
    assert file.rows("norm").view(torch.float32).tolist() == [[0, 1, 2], [3, 4, 5]] and file.tensors["norm"].shape == (2, 3)


@pytest.mark.parametrize("kind", BLOCKS)
def test_libggufs_blocks_hold_what_was_put_in(kind):
    """An independent quantizer: the values that we read are near the weights that it was given."""
    libgguf = pytest.importorskip("libgguf")
    W = torch.randn(8, 512)
    raw = libgguf.quantize_rows(W.numpy(), gguf.GGMLQuantizationType[kind])
    raw = torch.from_numpy(np.asarray(raw).view(np.uint8).reshape(8, -1).copy())
    error = (values(raw, kind) - W).norm() / W.norm()
    assert error < {"Q2_K": 0.35, "Q3_K": 0.18, "TQ2_0": 0.9, "MXFP4": 0.13}.get(
        kind, 0.1
    )  # facts of the formats: .29, .15, MXFP4 .12, and less for the rest
