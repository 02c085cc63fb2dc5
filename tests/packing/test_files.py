"""Every file of a reference library: tensors → QTensor → tensors are the file's, bit for bit, and so are the codes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.models.loader import build, open_checkpoint
from qcourse.packing.gguf_layout import GGUF_ARGS, Gguf
from qcourse.packing.order import unsorted_codes

FILES = Path(__file__).parents[1] / "checkpoints" / "files"
FOLDERS = sorted(p.parent.name for p in FILES.glob("*/config.json"))
GGUF = sorted(p.relative_to(FILES).as_posix() for p in FILES.glob("*/*.gguf"))
BESIDE = {"bias", "input_scale"}  # what a layer has besides its weight


def raw(t: torch.Tensor) -> tuple:
    """dtype, shape, bytes: what a file holds."""
    return t.dtype, tuple(t.shape), t.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def quantized_layers(folder: Path) -> dict:
    checkpoint = open_checkpoint(folder)
    layers = build(checkpoint.config, checkpoint.quantization, folder).linears()
    return {n: m for n, m in layers.items() if isinstance(m.quant_method, QuantizedLinearMethod)}


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors, as safetensors' own reader gives them."""
    return {n: t for path in sorted(folder.glob("*.safetensors")) for n, t in load_file(path).items()}


def test_the_files_are_there():
    """Act_order, both versions of zeros, 2, 3 and 8 bits, FP4, blocks, and GGUF with each type but TQ2_0."""
    for part in ("act_order", "v1_asym", "v2_asym", "lying", "2bit", "3bit", "8bit", "nvfp4", "mxfp4", "fp8_block", "awq"):
        assert any(part in n for n in FOLDERS), part
    found = {i.ggml_type for path in GGUF for i in GGUFFile(FILES / path).tensors.values()}
    assert found >= GGUF_ARGS.keys() - {"TQ2_0", "MXFP4"}


@pytest.mark.parametrize("name", FOLDERS)
def test_pack_of_unpack_is_the_file(name):
    tensors, layers = tensors_of(FILES / name), quantized_layers(FILES / name)
    assert layers
    with np.load(FILES / name / "expected.npz", allow_pickle=False) as z:
        codes = {n.removeprefix("codes/"): torch.from_numpy(z[n]) for n in z.files if n.startswith("codes/")}
    for prefix, layer in layers.items():
        args, layout = layer.quant_method.scheme.weights, layer.quant_method.layout
        N, K = layer.output_size, layer.input_size
        its = {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
        its = {n: t for n, t in its.items() if n not in BESIDE}
        q = layout.unpack(its, args, N, K)
        again = layout.pack(q)
        assert again.keys() == its.keys()
        for leaf, t in its.items():
            assert raw(again[leaf]) == raw(t), f"{prefix}.{leaf}"
        if prefix in codes:
            half = 1 << (args.num_bits - 1)
            ours = unsorted_codes(q.codes, q.order).int()
            ours += half * (args.grid.dtype == torch.int8)  # unsigned, as GPTQ and AWQ count
            theirs = codes[prefix].int() + half * name.startswith(("ct_", "ao_"))  # these count signed
            assert torch.equal(ours, theirs), prefix


def test_codes_were_kept_for_most_files():
    kept = [n for n in FOLDERS if any(k.startswith("codes/") for k in np.load(FILES / n / "expected.npz").files)]
    assert {n.split("_")[0] for n in kept} == {"ct", "gptq", "awq", "ao"} and len(kept) >= 18


@pytest.mark.parametrize("path", GGUF)
def test_blocks_of_gguf(path):
    """The rows of every quantized matrix, and the same bytes found in the file."""
    file, data = GGUFFile(FILES / path), (FILES / path).read_bytes()
    matrices = {n: i for n, i in file.tensors.items() if i.ggml_type in GGUF_ARGS}
    assert matrices
    for name, info in matrices.items():
        rows = file.rows(name)
        assert rows.numpy().tobytes() in data
        q = Gguf().unpack({"blocks": rows}, GGUF_ARGS[info.ggml_type], *info.shape)
        assert raw(Gguf().pack(q)["blocks"]) == raw(rows), name
