"""`bits_per_weight` is one recursive rule: what formats are known to cost, with the arithmetic of each beside it.

codes + (bits of a scale + bits of a zero point) / weights that share them; a quantized scale costs what its own args cost
"""

import math

import pytest
import torch

from qcourse.numerics.codebooks import E8M0, TERNARY, Codebook
from qcourse.numerics.formats import GGUF_ARGS, MXFP4_ARGS, NVFP4_ARGS, shifted, super_scale, symmetric
from qcourse.numerics.granularity import per_block, per_channel, per_group, per_tensor
from qcourse.numerics.grids import E2M1, E4M3, FloatGrid, IntGrid
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, int_weight, stored_bits
from qcourse.packing.gguf import BLOCKS
from qcourse.packing.gguf_layout import Gguf
from qcourse.packing.packed import pack

N, K = 4096, 16384
FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32
W = {name: scheme.weights for name, scheme in PRESETS.items()}
E2M3, E3M2 = FloatGrid("e2m3", 2, 3, bias=1, max=7.5), FloatGrid("e3m2", 3, 2, bias=3, max=28.0)
NF4 = Codebook("nf4", tuple(i / 15 for i in range(-15, 16, 2)))  # its values do not count here, their number does
ABSMAX_IN_8 = QuantizationArgs(IntGrid(8, signed=False), per_group(256), "max", scale=FP32)  # double quantization
HQQ_ZERO = QuantizationArgs(IntGrid(4, signed=False), per_group(64), "minmax", scale=FP16, zero=FP16, zero_in="weights")
Q4_BY_8 = QuantizationArgs(IntGrid(8, signed=False), per_group(128), "max", scale=FP16)

BUDGETS = {
    # GGUF (ggml's table of types). 32 weights: codes + fp16 scale (+ fp16 minimum)
    "Q4_0": (GGUF_ARGS["Q4_0"], 4 + 16 / 32, 4.5),
    "Q4_1": (GGUF_ARGS["Q4_1"], 4 + 32 / 32, 5.0),
    "Q5_0": (GGUF_ARGS["Q5_0"], 5 + 16 / 32, 5.5),
    "Q5_1": (GGUF_ARGS["Q5_1"], 5 + 32 / 32, 6.0),
    "Q8_0": (GGUF_ARGS["Q8_0"], 8 + 16 / 32, 8.5),
    "IQ4_NL": (GGUF_ARGS["IQ4_NL"], 4 + 16 / 32, 4.5),
    # 256 weights: 16 or 8 blocks with a scale code (and a minimum code), and an fp16 scale over those (one over the minima)
    "Q2_K": (GGUF_ARGS["Q2_K"], 2 + (4 + 4) / 16 + 2 * 16 / 256, 2.625),
    "Q3_K": (GGUF_ARGS["Q3_K"], 3 + 6 / 16 + 16 / 256, 3.4375),
    "Q4_K": (GGUF_ARGS["Q4_K"], 4 + (6 + 6) / 32 + 2 * 16 / 256, 4.5),
    "Q5_K": (GGUF_ARGS["Q5_K"], 5 + (6 + 6) / 32 + 2 * 16 / 256, 5.5),
    "Q6_K": (GGUF_ARGS["Q6_K"], 6 + 8 / 16 + 16 / 256, 6.5625),
    # not read by the course yet: their budgets follow from the same rule
    "IQ4_XS": (symmetric(NF4, super_scale(6, True, 8)), 4 + 6 / 32 + 16 / 256, 4.25),
    "TQ2_0": (symmetric(TERNARY, group_size=256), 2 + 16 / 256, 2.0625),
    # microscaling: 32 weights share an E8M0 exponent of 8 bits
    "MXFP4": (MXFP4_ARGS, 4 + 8 / 32, 4.25),
    "MXFP6 E2M3": (MXFP4_ARGS.with_(grid=E2M3), 6 + 8 / 32, 6.25),
    "MXFP6 E3M2": (MXFP4_ARGS.with_(grid=E3M2), 6 + 8 / 32, 6.25),
    "MXFP8": (MXFP4_ARGS.with_(grid=E4M3), 8 + 8 / 32, 8.25),
    "MXINT8": (MXFP4_ARGS.with_(grid=IntGrid(8)), 8 + 8 / 32, 8.25),
    # NVFP4: an E4M3 scale for 16 weights, one fp32 scale over all of those
    "NVFP4": (NVFP4_ARGS, 4 + 8 / 16 + 32 / (N * K), 4.5),
    # QLoRA: fp32 absmax for 64 weights costs 0.5; in 8 bits, 256 of them under one fp32, 0.127
    "NF4": (QuantizationArgs(NF4, per_group(64), scale=FP32), 4 + 32 / 64, 4.5),
    "NF4, double quantization": (QuantizationArgs(NF4, per_group(64), scale=ABSMAX_IN_8), 4 + 8 / 64 + 32 / 64 / 256, 4.127),
    # FP8: E4M3 with fp32 scales, as DeepSeek-V3 ships it (a block of 128 × 128), by channel, by tensor
    "FP8 block": (QuantizationArgs(E4M3, per_block(128, 128), scale=FP32), 8 + 32 / (128 * 128), 8.002),
    "FP8 channel": (W["FP8_DYNAMIC"], 8 + 32 / K, 8.002),
    "FP8 tensor": (W["FP8"], 8 + 32 / (N * K), 8.0),
    # integers with bf16 scales; zero points are codes of the grid, packed
    "W8A16": (W["W8A16"], 8 + 16 / K, 8.001),
    "W8A16_TENSOR": (W["W8A16_TENSOR"], 8 + 16 / (N * K), 8.0),
    "W4A16": (W["W4A16"], 4 + 16 / 128, 4.125),
    "W4A16_G64": (W["W4A16_G64"], 4 + 16 / 64, 4.25),
    "W4A16_G32": (W["W4A16_G32"], 4 + 16 / 32, 4.5),
    "W4A16_CHANNEL": (W["W4A16_CHANNEL"], 4 + 16 / K, 4.001),
    "W4A16_ASYM": (W["W4A16_ASYM"], 4 + (16 + 4) / 128, 4.15625),
    "W8A16 asymmetric": (int_weight(8, per_channel, symmetric=False), 8 + (16 + 8) / K, 8.0015),
    "W3A16": (W["W3A16"], 3 + 16 / 128, 3.125),
    "W2A16": (W["W2A16"], 2 + 16 / 128, 2.125),
    # HQQ: fp16 zero points in weight units; with scale and zero in 8 bits, 128 of them under an fp16 scale
    "HQQ 4-bit, G=64": (HQQ_ZERO, 4 + (16 + 16) / 64, 4.5),
    "HQQ, quantized scales": (HQQ_ZERO.with_(scale=Q4_BY_8, zero=Q4_BY_8), 4 + 2 * (8 + 16 / 128) / 64, 4.254),
    # three levels: a scale of scales of scales. 2-bit codes, 8 bits for 16, 8 bits for 8 of those, fp32 over all
    "three levels": (
        symmetric(IntGrid(2), QuantizationArgs(E4M3, per_group(8), scale=NVFP4_ARGS.scale), 16),
        2 + (8 + (8 + 32 / (N * K / 128)) / 8) / 16, 2.5625,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUDGETS)
def test_budget(name):
    """The rule equals the arithmetic; the published figure is the arithmetic, rounded as it is published."""
    args, arithmetic, published = BUDGETS[name]
    assert args.bits_per_weight(N, K) == pytest.approx(arithmetic, rel=1e-12)
    assert arithmetic == pytest.approx(published, abs=5e-4)


def test_enough_of_them():
    assert len(BUDGETS) >= 30 and BUDGETS.keys() >= GGUF_ARGS.keys()


@pytest.mark.parametrize("kind", GGUF_ARGS)
def test_gguf_costs_its_blocks(kind):
    """The figure is also the bytes of a block, and the bytes of a matrix in the layout."""
    args, block = GGUF_ARGS[kind], BLOCKS[kind]
    assert args.bits_per_weight(N, K) == block.bytes * 8 / block.weights
    (slot,) = Gguf().slots(args, 8, 512).values()
    assert math.prod(slot.shape) * 8 == args.bits_per_weight(8, 512) * 8 * 512


@pytest.mark.parametrize(("args", "layout"), [(NVFP4_ARGS, "nvfp4-pack-quantized"), (MXFP4_ARGS, "mxfp4-pack-quantized"),
                         (QuantizationArgs(E4M3, per_block(128, 128), scale=FP32), "float-quantized"),
                         (W["W4A16"], "words")])  # fmt: skip
def test_measured_bytes(args, layout):
    q = quantize(torch.randn(256, 512), args)
    assert pack(q, layout).nbytes == q.nbytes


def test_ragged_blocks_and_few_rows_cost_what_is_stored():
    """(130, 300) in blocks of 128 × 128: 2 × 3 scales. One scale for a tensor costs more a weight the smaller it is."""
    args = QuantizationArgs(E4M3, per_block(128, 128), scale=FP32)
    assert args.bits_per_weight(130, 300) == 8 + 6 * 32 / (130 * 300)
    assert W["W8A16_TENSOR"].bits_per_weight(1, 16) == 8 + 16 / 16
    assert NVFP4_ARGS.bits_per_weight(1, 16) == 4 + (8 + 32) / 16


def test_what_one_scale_takes():
    """A dtype its width, a grid its bits, args what they cost a weight of their own; no zero points cost nothing."""
    assert [stored_bits(how, 4, 8) for how in (FP32, BF16, E8M0, IntGrid(6), E2M1, None)] == [32, 16, 8, 6, 4, 0]
    assert stored_bits(QuantizationArgs(E4M3, per_tensor, scale=FP32), 4, 8) == 8 + 32 / 32
    assert shifted(4, super_scale(6, False, 8)).bits_per_weight(1, 256) == 4.5
