"""The blocks of GGUF: any bytes come apart and together again; where each bit goes is checked one bit at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.gguf import BLOCKS, Blocks, join, split
from qcourse.packing.gguf_layout import GGUF_ARGS, kind_of
from qcourse.packing.packed import LAYOUTS, pack, unpack


def random_rows(kind, N=5, blocks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (N, blocks * BLOCKS[kind].bytes), dtype=torch.uint8, generator=generator)


def tame(raw, kind):
    """The float16 fields replaced by small finite numbers."""
    rows, at = raw.unflatten(-1, (-1, BLOCKS[kind].bytes)), 0
    for name, size in BLOCKS[kind].fields.items():
        if name in ("d", "m", "dmin"):
            rows[..., at : at + 2] = (torch.randn(*rows.shape[:2], 1) * 0.01).half().view(torch.uint8)
        at += size
    return rows.flatten(-2)


def parts(blocks):
    return {k: v for k, v in vars(blocks).items() if v is not None}


@pytest.mark.parametrize("kind", BLOCKS)
@given(data=st.data())
def test_any_bytes_come_back(kind, data):
    N, blocks = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    size = N * blocks * BLOCKS[kind].bytes
    raw = torch.tensor(list(data.draw(st.binary(min_size=size, max_size=size))), dtype=torch.uint8).reshape(
        N, -1 if N else blocks * BLOCKS[kind].bytes
    )
    assert torch.equal(join(split(raw, kind), kind), raw)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_hundred_thousand_blocks_come_back(kind):
    raw = random_rows(kind, N=1000, blocks=100, seed=1)
    assert torch.equal(join(split(raw, kind), kind), raw)


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_single_bit_is_one_bit_of_one_part(kind):
    """Flip each bit of a block in turn: exactly one number of one part changes, and by a power of two."""
    size = BLOCKS[kind].bytes
    raw = torch.eye(8 * size, dtype=torch.uint8).unflatten(-1, (size, 8))
    raw = (raw << torch.arange(8, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)  # row i: bit i alone
    zero, ones = parts(split(torch.zeros(1, size, dtype=torch.uint8), kind)), parts(split(raw, kind))
    seen, changed = set(), torch.zeros(8 * size, dtype=torch.long)
    for name, one in ones.items():
        bits = one.contiguous().view(torch.int16 if one.dtype == torch.float16 else torch.uint8).long()
        base = zero[name].contiguous().view(torch.int16 if one.dtype == torch.float16 else torch.uint8).long()
        differs = bits != base
        changed += differs.sum(-1)
        step = ((bits - base) & (0xFFFF if one.dtype == torch.float16 else 0xFF))[differs]
        assert ((step & (step - 1)) == 0).all()
        seen |= {(name, column, s) for (_, column), s in zip(differs.nonzero().tolist(), step.tolist(), strict=True)}
    assert (changed == 1).all() and len(seen) == 8 * size


def test_shapes_types_and_the_container_agree():
    subs = {"Q2_K": 16, "Q3_K": 16, "Q4_K": 8, "Q5_K": 8, "Q6_K": 16}
    for kind, block in BLOCKS.items():
        assert GGML_TYPES[kind][1:] == (block.weights, block.bytes)
        b = split(random_rows(kind, 2, 3), kind)
        assert b.codes.shape == (2, 3 * block.weights) and b.d.shape == (2, 3)
        assert b.d.dtype == (torch.uint8 if kind == "MXFP4" else torch.float16)
        assert b.codes.dtype == (torch.uint8 if block.offset is None else torch.int8)
        assert (b.m is not None) == (kind in ("Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"))
        assert (b.mins is not None) == (kind in ("Q2_K", "Q4_K", "Q5_K"))
        assert (None if b.scales is None else b.scales.shape) == ((2, 3 * subs[kind]) if kind in subs else None)


def test_codes_fill_their_range():
    low = {"Q4_0": -8, "Q5_0": -16, "Q8_0": -128, "Q3_K": -4, "Q6_K": -32}
    bits = {
        "Q4_0": 4,
        "Q4_1": 4,
        "Q5_0": 5,
        "Q5_1": 5,
        "Q8_0": 8,
        "IQ4_NL": 4,
        "Q2_K": 2,
        "Q3_K": 3,
        "Q4_K": 4,
        "Q5_K": 5,
        "Q6_K": 6,
        "TQ2_0": 2,
        "MXFP4": 4,
    }
    for kind in BLOCKS:
        codes = split(random_rows(kind, 50, 10), kind).codes.long()
        start = low.get(kind, 0)
        assert (codes.min(), codes.max()) == (start, start + 2 ** bits[kind] - 1)
    for kind, (start, end) in {
        "Q2_K": (0, 15),
        "Q3_K": (-32, 31),
        "Q4_K": (0, 63),
        "Q5_K": (0, 63),
        "Q6_K": (-128, 127),
    }.items():
        b = split(random_rows(kind, 50, 10), kind)
        for subs in (b.scales, b.mins):
            assert subs is None or (subs.min(), subs.max()) == (start, end)


def test_a_nan_keeps_its_bits():
    """A float16 that is a signalling NaN would be made quiet by a detour through float32."""
    raw = random_rows("Q4_1", 1, 1)
    raw[0, :4] = torch.tensor([0x01, 0x7C, 0x01, 0xFC])
    b = split(raw, "Q4_1")
    assert b.d.isnan().all() and b.m.isnan().all() and torch.equal(join(b, "Q4_1"), raw)


def test_errors():
    with pytest.raises(ValueError, match="known are Q4_0"):
        split(random_rows("Q4_0"), "IQ1_S")
    with pytest.raises(ValueError, match="19 bytes in a row: Q4_0 has blocks of 18"):
        split(torch.zeros(1, 19, dtype=torch.uint8), "Q4_0")
    b = split(random_rows("Q4_K", 1, 2), "Q4_K")
    with pytest.raises(ValueError, match="Q4_K: m is None, expected"):
        join(Blocks(b.codes, b.d, None, b.scales, b.mins), "Q4_K")
    with pytest.raises(ValueError, match="Q4_K: scales is .* expected"):
        join(Blocks(b.codes, b.d, b.m, b.scales[:, :1], b.mins[:, :1]), "Q4_K")
    with pytest.raises(ValueError, match="Q4_0: codes is .*uint8.* expected"):
        join(b, "Q4_0")


# Bits a weight as published (llama.cpp's README of quantize, ggml-common.h): bytes of a block · 8 / its weights.
BUDGETS = {"Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6, "Q8_0": 8.5, "IQ4_NL": 4.5, "Q2_K": 2.625, "Q3_K": 3.4375,
           "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "TQ2_0": 2.0625, "MXFP4": 4.25}  # fmt: skip


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_recipe_of_a_type(kind):
    """Its budget, and the layout: any bytes → QTensor → the same bytes; the values are those of the table in gguf.py."""
    args, layout = GGUF_ARGS[kind], LAYOUTS["gguf"]
    assert args.bits_per_weight(3, 512) == BUDGETS[kind] and kind_of(args) == kind
    raw = random_rows(kind, 3, 512 // BLOCKS[kind].weights)
    q = layout.unpack({"blocks": raw}, args, 3, 512)
    assert torch.equal(layout.pack(q)["blocks"], raw)
    assert torch.equal(unpack(pack(q, "gguf")).codes, q.codes)
    half = layout.shard({"blocks": raw}, args, (3, 512), rows=(1, 3), columns=(256, 512))
    part = layout.unpack(half, args, 2, 256)
    assert torch.equal(part.codes, q.codes[1:, 256:])
    with pytest.raises(ValueError, match="do not divide K=300"):
        layout.slots(args, 3, 300)


@pytest.mark.parametrize("kind", ["Q4_1", "Q4_K", "Q6_K"])
def test_one_weight_by_hand(kind):
    """n = 1, k = 300, computed from the parts with Python's own numbers."""
    raw = tame(random_rows(kind, 2, 512 // BLOCKS[kind].weights), kind)
    b = split(raw, kind)
    q, block = b.codes[1, 300].item(), 300 // BLOCKS[kind].weights
    if kind == "Q4_1":
        want = b.d[1, block].item() * q + b.m[1, block].item()
    elif kind == "Q4_K":
        sub = 300 // 32
        want = b.d[1, 1].item() * b.scales[1, sub].item() * q - b.m[1, 1].item() * b.mins[1, sub].item()
    else:
        want = b.d[1, 1].item() * b.scales[1, 300 // 16].item() * q
    W = dequantize(LAYOUTS["gguf"].unpack({"blocks": raw}, GGUF_ARGS[kind], 2, 512))
    assert W[1, 300].item() == pytest.approx(want, rel=2**-20, abs=1e-6)  # a few fp32 roundings of terms below 10


@pytest.mark.parametrize("kind", BLOCKS)
def test_what_is_quantized_here_can_be_written(kind):
    """Round to nearest into the recipe, through the blocks and back: the same codes and values, and an error of its size."""
    W = torch.randn(8, 512)
    q = quantize(W, GGUF_ARGS[kind])
    assert torch.equal(dequantize(unpack(pack(q, "gguf"))), dequantize(q))
    limit = {"Q2_K": 0.45, "Q3_K": 0.25, "TQ2_0": 0.9}.get(
        kind, 0.13
    )  # min and max to the nearest, without ggml's search: looser than it
    assert (dequantize(q) - W).norm() < limit * W.norm()


def test_mxfp4_is_rounded_as_ggml_does_it():
    """Second implementation, after ggml's: the first of 16 values (-0 never) with the least distance, at a power of two; and
    the codes of other MXFP4 files move over as they are."""
    W = (torch.randn(6, 64) * 8).round() / 8 * torch.logspace(-6, 6, 6)[:, None]  # many ties
    W[0, :32] = 0
    q, values = quantize(W, GGUF_ARGS["MXFP4"]), torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    for n in range(6):
        for k in range(64):
            block = W[n, k // 32 * 32 : k // 32 * 32 + 32].abs().max().item()
            d = 2.0 ** (math.floor(math.log2(block)) - 2) if block else 0.0
            far = [(abs(v * s * d - W[n, k].item()), i) for s in (1, -1) for i, v in enumerate(values.tolist(), 8 * (s < 0))]
            assert q.codes[n, k] == min(far)[1], (n, k)
    other = quantize(W, PRESETS["MXFP4A16"].weights)
    moved = LAYOUTS["gguf"].unpack(pack(other, "gguf").tensors, GGUF_ARGS["MXFP4"], 6, 64)
    assert torch.equal(moved.codes, other.codes) and torch.equal(moved.scale, other.scale)


def test_another_recipe_is_refused():
    with pytest.raises(ValueError, match="none of them"):
        pack(quantize(torch.randn(4, 256), PRESETS["W4A16"].weights), "gguf")


def test_the_minimum_of_all_positive_weights():
    """m is an unsigned code in K-quants; Q4_1, whose minimum is a float16, keeps its own."""
    W = torch.rand(2, 256) + 1
    q = quantize(W, GGUF_ARGS["Q4_K"])
    assert (q.zero_point.scale >= 0).all() and (dequantize(q) - W).abs().max() < 2 / 15
    assert (quantize(W, GGUF_ARGS["Q4_1"]).zero_point < -1 + 1e-3).all()


def test_an_unsigned_grid_alone_refuses_negative_weights():
    with pytest.raises(ValueError, match="never negative, and -1 is among these"):
        quantize(torch.tensor([[1.0, -1.0] * 8]), GGUF_ARGS["Q4_K"].scale.with_(granularity=per_group(8)))
