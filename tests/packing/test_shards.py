"""Tensor parallelism from slots alone: every layout cuts every format that it holds, exactly, or says why it cannot."""

from dataclasses import replace

import pytest
import torch

from qcourse.numerics.formats import GGUF_ARGS, NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.granularity import per_block
from qcourse.numerics.grids import E4M3
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, int_weight
from qcourse.packing.packed import LAYOUTS

N, K = 64, 512
FORMATS = {name: s.weights for name, s in PRESETS.items()} | {
    "NVFP4": NVFP4_ARGS,
    "NVFP4_MODELOPT": NVFP4_MODELOPT,
    "FP8_BLOCK": QuantizationArgs(E4M3, per_block(32, 128), scale=torch.float32),
    "INT8_BLOCK": int_weight(8, per_block(16, 64)),
    **GGUF_ARGS,
}


def holds(layout: str, args: QuantizationArgs) -> bool:
    try:
        return bool(LAYOUTS[layout].slots(args, N, K))
    except ValueError:
        return False


PAIRS = [(name, layout) for name, args in FORMATS.items() for layout in LAYOUTS if holds(layout, args)]
WHOLE = "bitsandbytes"  # its scales run over the ends of rows
PAIRS = [pair for pair in PAIRS if pair[1] != WHOLE]
HALVES = [(0, 1 / 2), (1 / 2, 1)]


def test_every_layout_is_tried():
    assert {layout for _, layout in PAIRS} == set(LAYOUTS) - {WHOLE}
    assert {name for name, _ in PAIRS} == set(FORMATS) - {"NF4"}


@pytest.mark.parametrize("cut", [{"rows": (0, 32)}, {"columns": (0, 256)}], ids=str)
def test_nf4_is_not_cut(cut):
    q, tensors = made("NF4", WHOLE)
    assert torch.equal(dequantize(LAYOUTS[WHOLE].unpack(tensors, q.args, N, K)), dequantize(q))
    with pytest.raises(ValueError, match="256 scales of neighbours share one, over the ends of rows"):
        LAYOUTS[WHOLE].shard(tensors, q.args, (N, K), **cut)


def made(name: str, layout: str, order=None) -> tuple[QTensor, dict]:
    """(QTensor, its tensors in the layout)."""
    W = torch.randn(N, K)
    q = replace(quantize(W, FORMATS[name]), order=order)
    if layout == "gptq" and q.zero_point is not None:
        q = replace(q, zero_point=q.zero_point.clamp(min=1))  # version 1 stores z - 1
    return q, LAYOUTS[layout].pack(q)


def bytes_of(t):
    return t.reshape(-1).view(torch.uint8)


def edges(part: tuple, size: int) -> tuple[int, int]:
    return int(part[0] * size), int(part[1] * size)


@pytest.mark.parametrize(("name", "layout"), PAIRS)
def test_a_shard_is_that_part_of_the_weight(name, layout):
    """Halves along N, along K, and quarters along both: the very values, and again the tensors that the layout promises."""
    q, tensors = made(name, layout)
    holder = LAYOUTS[layout]
    W = dequantize(holder.unpack(tensors, q.args, N, K))  # NVFP4's file holds 1/g rounded to fp32, where q has g
    assert torch.equal(W, dequantize(q)) or name == "NVFP4" and torch.allclose(W, dequantize(q), rtol=2**-22, atol=0)
    for r in (None, *HALVES):
        for c in (None, *HALVES):
            rows, columns = r and edges(r, N), c and edges(c, K)
            shard = holder.shard(tensors, q.args, (N, K), rows, columns)
            wanted = W[slice(*rows or (None,)), slice(*columns or (None,))]
            part = holder.unpack(shard, q.args, *wanted.shape)
            assert torch.equal(dequantize(part), wanted)
            assert holder.pack(part).keys() == shard.keys()
            assert all(torch.equal(bytes_of(t), bytes_of(shard[n])) for n, t in holder.pack(part).items())


@pytest.mark.parametrize(("name", "layout"), PAIRS)
def test_legal_places_are_the_multiples_of_the_steps(name, layout):
    """At an edge of W the cut works if and only if each tensor's own step divides it; else tensor and step are said."""
    q, tensors = made(name, layout)
    holder, slots = LAYOUTS[layout], LAYOUTS[layout].slots(q.args, N, K)
    said = holder.restated(q.args, N, K)
    for letter, size in (("N", N), ("K", K)):
        steps = [s.cuts[letter].step for n, s in slots.items() if n in tensors and n not in said and letter in s.cuts]
        for edge in sorted({1, 3, size - 1} | set(range(4, size, 12)) | set(range(16, size, 48))):
            cut = {"rows": (0, edge)} if letter == "N" else {"columns": (edge, size)}
            if all(edge % step == 0 for step in steps):
                holder.shard(tensors, q.args, (N, K), **cut)
            else:
                with pytest.raises(
                    ValueError, match=rf"cannot be cut at {edge}: \d+ of W lie in one piece; cut at a multiple"
                ):
                    holder.shard(tensors, q.args, (N, K), **cut)


ACT_ORDER = [("W4A16", "row"), ("W4A16_ASYM", "words"), ("W8A16", "plain"), ("W4A16_G32", "pack-quantized"),
             ("W4A16", "gptq"), ("W4A16_ASYM", "gptq_v2"), ("W3A16", "gptq")]  # fmt: skip


@pytest.mark.parametrize(("name", "layout"), ACT_ORDER)
def test_act_order_is_cut_along_n_only(name, layout):
    order = torch.randperm(K)
    if FORMATS[name].group_size:  # within a group channels rise: what a file can say
        order = order.view(-1, FORMATS[name].group_size).sort(1).values.flatten()
    elif layout != "plain":
        pytest.fail("a file has no order without groups")
    q, tensors = made(name, layout, order)
    holder = LAYOUTS[layout]
    everything = holder.shard(tensors, q.args, (N, K), rows=(0, N), columns=(0, K))
    assert all(torch.equal(bytes_of(everything[n]), bytes_of(t)) for n, t in tensors.items())
    for part in HALVES:
        shard = holder.shard(tensors, q.args, (N, K), rows=edges(part, N))
        assert torch.equal(dequantize(holder.unpack(shard, q.args, N // 2, K)), dequantize(q)[slice(*edges(part, N))])
        with pytest.raises(ValueError, match="act_order: the channels of a group lie all over K"):
            holder.shard(tensors, q.args, (N, K), columns=edges(part, K))


@pytest.mark.parametrize("part", [(-8, 8), (8, 8), (16, 8), (0, K + 128), (K, K + 128)])
def test_a_part_lies_inside(part):
    q, tensors = made("W4A16", "row")
    with pytest.raises(ValueError, match=f"from {part[0]} to {part[1]}: a part of 0 … {K} expected"):
        LAYOUTS["row"].shard(tensors, q.args, (N, K), columns=part)


def test_the_reason_names_the_tensor():
    """4-bit words hold 8 columns, G=128; AWQ's words hold 8 rows; 3-bit words 32 columns; a block of Q4_K 256 weights."""
    for name, layout, cut, said in (
        ("W4A16_CHANNEL", "gptq", {"columns": (0, 12)}, "qweight cannot be cut at 12: 8 of W"),
        ("W4A16", "gptq", {"columns": (0, 64)}, "scales cannot be cut at 64: 128 of W|qzeros cannot be cut at 64: 128 of W"),
        ("W4A16", "awq", {"rows": (4, N)}, "qweight cannot be cut at 4: 8 of W"),
        ("W3A16", "pack-quantized", {"columns": (0, 16)}, "weight_packed cannot be cut at 16: 32 of W"),
        ("FP8_BLOCK", "float-quantized", {"rows": (0, 8)}, "weight_scale cannot be cut at 8: 32 of W"),
        ("Q4_K", "gguf", {"columns": (128, K)}, "blocks cannot be cut at 128: 256 of W"),
    ):
        q, tensors = made(name, layout)
        with pytest.raises(ValueError, match=said):
            LAYOUTS[layout].shard(tensors, q.args, (N, K), **cut)
