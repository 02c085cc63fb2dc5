"""Ŵ in one pass is Ŵ in two: the compiled loops against `dequantize(unpack(p))`, bit for bit."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("numba")

from qcourse.gemm import convert
from qcourse.gemm.convert import compiled, dequantize_packed
from qcourse.numerics.codebooks import TERNARY, Codebook
from qcourse.numerics.formats import GGUF_ARGS, NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS, int_weight
from qcourse.packing.gguf import BLOCKS
from qcourse.packing.packed import PackedWeight, holders, pack, unpack

WORDS = {"gptq", "gptq_v2", "awq"}  # words along N
SIZES = [(1, 256), (3, 512), (67, 768), (8, 1280), (130, 1024)]
ARGS = {name: s.weights for name, s in PRESETS.items()} | {"ModelOpt": NVFP4_MODELOPT}
SOME = list(convert.LIMITS)


def same(a, b):
    """Equal down to the sign of 0; NaN is NaN."""
    bits = {2: torch.int16, 4: torch.int32}[a.element_size()]
    return (
        a.shape == b.shape and a.dtype == b.dtype and bool(((a.view(bits) == b.view(bits)) | (a.isnan() & b.isnan())).all())
    )


def has_loop(p):
    lists = isinstance(p.args.grid, Codebook)  # bytes or bits can say more than the list has
    return p.layout not in WORDS and not (lists and (p.layout == "plain" or p.args.grid == TERNARY))


def layouts(args, N, K):
    try:
        return holders(args, N, K)
    except ValueError:
        return []


@pytest.mark.parametrize(("N", "K"), SIZES)
@pytest.mark.parametrize("name", ARGS)
def test_every_format_in_every_layout(name, N, K):
    found = layouts(ARGS[name], N, K)
    assert found
    q = quantize(torch.randn(N, K), ARGS[name])
    for layout in found:
        p = pack(q, layout)
        if has_loop(p):
            assert compiled(p) is not None, layout
        for dtype in SOME:
            assert same(dequantize_packed(p, dtype), dequantize(unpack(p), dtype)), (layout, dtype)


BLOCKS_OF = [(N, K) for N in (1, 3, 67) for K in (256, 1536)]


@pytest.mark.parametrize(("N", "K"), BLOCKS_OF)
@pytest.mark.parametrize("kind", GGUF_ARGS)
def test_any_bytes_are_legal_blocks(kind, N, K):
    """Random bytes: NaN, inf and subnormal scales among them."""
    raw = torch.randint(256, (N, K // BLOCKS[kind].weights * BLOCKS[kind].bytes), dtype=torch.uint8)
    raw[:, -2:] = torch.tensor([0, 0x7C])  # inf, where d or dmin ends a block; elsewhere some weights
    p = PackedWeight({"blocks": raw}, (N, K), GGUF_ARGS[kind], "gguf")
    assert compiled(p) is not None
    for dtype in SOME:
        assert same(dequantize_packed(p, dtype), dequantize(unpack(p), dtype))


@pytest.mark.parametrize("half", [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xFBFF, 0x7C00, 0xFC00, 0x7C01, 0xFE00])
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "Q4_K", "Q6_K"])
def test_every_sort_of_fp16_scale(kind, half):
    """±0, subnormal, the least normal, the largest, inf, NaN; under every pattern of the other bytes' codes."""
    block, at = BLOCKS[kind], 0
    raw = torch.randint(256, (2, 512 // block.weights, block.bytes), dtype=torch.uint8)
    for name, size in block.fields.items():
        if name in ("d", "m", "dmin"):
            raw[0, :, at : at + 2] = torch.tensor([half & 255, half >> 8])
        at += size
    p = PackedWeight({"blocks": raw.flatten(1)}, (2, 512), GGUF_ARGS[kind], "gguf")
    assert same(dequantize_packed(p), dequantize(unpack(p)))


@pytest.mark.parametrize("name", ["NVFP4A16", "ModelOpt", "MXFP4", "MXFP6A16", "MXFP8", "FP8", "FP8_BLOCK", "FP8A16_E5M2"])
def test_any_bytes_of_floats_and_their_scales(name):
    """NaN and inf among the codes and the scales."""
    p = pack(quantize(torch.randn(5, 256), ARGS[name]))
    tensors = {n: random_like(t) for n, t in p.tensors.items()}
    p = replace(p, tensors=tensors)
    assert compiled(p) is not None
    for dtype in SOME:
        assert same(dequantize_packed(p, dtype), dequantize(unpack(p), dtype))


def random_like(t):
    """Random bytes for codes, loud and quiet numbers for scales."""
    if t.itemsize == 1:
        return torch.randint(256, t.shape, dtype=torch.uint8).view(t.dtype)
    return torch.logspace(-40, 38, t.numel()).reshape(t.shape).to(t.dtype) if t.numel() > 1 else torch.full_like(t, 3e37)


INTS = {f"int{B} G={G} {'sym' if s else 'asym'}": int_weight(B, per_group(G), s) for B in range(2, 9) for G in (16, 48)
        for s in (True, False)}  # fmt: skip


@pytest.mark.parametrize("name", INTS)
def test_integers_of_every_width(name):
    q = quantize(torch.randn(24, 192), INTS[name])
    for layout in set(layouts(q.args, 24, 192)) - WORDS:
        p = pack(q, layout)
        assert compiled(p) is not None and same(dequantize_packed(p), dequantize(unpack(p)))


def test_scales_in_the_dtype_of_the_file():
    p = pack(quantize(torch.randn(4, 256), ARGS["W4A16"]), "pack-quantized")
    for dtype in (torch.float16, torch.float32):
        other = replace(p, tensors=p.tensors | {"weight_scale": p.tensors["weight_scale"].to(dtype)})
        assert same(dequantize_packed(other), dequantize(unpack(other)))


def test_views_of_larger_tensors():
    """Rows that do not lie behind each other, and an address that no vector would choose."""
    p = pack(quantize(torch.randn(6, 256), ARGS["Q5_K"]))
    wide = torch.zeros(6, p.data.shape[1] + 3, dtype=torch.uint8)
    wide[:, 1:-2] = p.data
    assert same(dequantize_packed(replace(p, tensors={"blocks": wide[:, 1:-2]})), dequantize(unpack(p)))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_many_rows_in_threads(threads):
    before, p = torch.get_num_threads(), pack(quantize(torch.randn(1501, 256), ARGS["Q8_0"]))
    try:
        torch.set_num_threads(threads)
        assert same(dequantize_packed(p), dequantize(unpack(p)))
    finally:
        torch.set_num_threads(before)


def test_what_has_no_loop_is_unpacked(monkeypatch):
    narrow = pack(quantize(torch.randn(3, 100), int_weight(4, per_group(20))))
    known = pack(quantize(torch.randn(3, 256), ARGS["Q4_K"]))
    assert compiled(narrow) is None and same(dequantize_packed(narrow), dequantize(unpack(narrow)))
    ordered = pack(quantize(torch.randn(3, 256), ARGS["W4A16"]))
    ordered = replace(ordered, tensors=ordered.tensors | {"order": torch.randperm(256)})
    assert compiled(ordered) is None and same(dequantize_packed(ordered), dequantize(unpack(ordered)))
    monkeypatch.setattr(convert, "has_jit", lambda: False)
    assert compiled(known) is None and same(dequantize_packed(known), dequantize(unpack(known)))


def test_scales_that_want_a_gradient_get_one():
    p = pack(quantize(torch.randn(3, 256), ARGS["W4A16"].with_(scale=torch.float32)))
    p.scale.requires_grad_()
    dequantize_packed(p).sum().backward()
    assert p.scale.grad is not None


@pytest.mark.parametrize("bad", [0.0, -1.0, torch.nan, torch.inf])
def test_wrong_tensors_are_refused_as_unpack_refuses_them(bad):
    p = pack(quantize(torch.randn(3, 256), NVFP4_ARGS), "nvfp4-pack-quantized")
    with pytest.raises(ValueError, match="a positive number expected"):
        dequantize_packed(replace(p, tensors=p.tensors | {"weight_global_scale": torch.tensor([bad])}))
    with pytest.raises(ValueError, match="weight_packed has shape"):
        dequantize_packed(replace(p, shape=(4, 256)))
    packed = pack(quantize(torch.randn(3, 256), ARGS["W4A16"]), "pack-quantized")
    with pytest.raises(ValueError, match="weight_shape says"):
        dequantize_packed(replace(packed, tensors=packed.tensors | {"weight_shape": torch.tensor([3, 255])}))


def test_whatever_the_default_device_is():
    convert.values.cache_clear()
    p = pack(quantize(torch.randn(3, 256), ARGS["NVFP4A16"]))
    with torch.device("meta"):
        found = dequantize_packed(p)
    assert same(found, dequantize(unpack(p)))
