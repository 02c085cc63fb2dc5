"""The formats that have names of their own: how one tensor is stored in NVFP4, the MX family, NF4, and GGUF's block types.

    NVFP4      16 weights share an E4M3 scale; one fp32 number for the whole tensor            4.5 bits a weight
    MX…        32 share a power of two (E8M0)                                          4.25, 6.25, 8.25
    NF4        64 share a scale, which is an 8-bit code itself (double quantization)               4.127
    GGUF       32 share an fp16 scale (and an fp16 minimum), or 256 share two levels of them       `GGUF_ARGS`

A format is a line: which grid, which granularity, how the scale is stored. Notebook 05 builds them from scratch.
"""

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.codebooks import DYNAMIC8, E8M0, IQ4_NL, NF4, TQ2
from qcourse.numerics.granularity import per_group, per_run, per_tensor
from qcourse.numerics.grids import E2M1, E4M3, FloatGrid, IntGrid

FP32, HALF = torch.float32, torch.float16


def nvfp4(direction: str) -> QuantizationArgs:
    """direction: of the number that the whole tensor shares. "inverse": it divides (compressed-tensors); "absmax": it
    multiplies (ModelOpt)."""
    return QuantizationArgs(
        E2M1, per_group(16), "two_level", scale=QuantizationArgs(E4M3, per_tensor, direction, scale=FP32)
    )


def block_float(grid: FloatGrid, rule: str | None = None) -> QuantizationArgs:
    """An MX format. rule: how the exponent is found (numerics.scaling); None: as compressed-tensors does."""
    return QuantizationArgs(grid, per_group(32), rule or ("even_fp4" if grid == E4M3 else "even"), scale=E8M0)


def symmetric(grid, scale=HALF, group_size: int = 32) -> QuantizationArgs:
    """w = s·q."""
    return QuantizationArgs(grid, per_group(group_size), "ggml", scale=scale)


def shifted(num_bits: int, scale=HALF, group_size: int = 32) -> QuantizationArgs:
    """w = s·q - m, both stored alike; codes from 0."""
    grid = IntGrid(num_bits, signed=False)
    return QuantizationArgs(grid, per_group(group_size), "ggml", scale=scale, zero=scale, zero_in="weights")


def super_scale(num_bits: int, signed: bool, count: int) -> QuantizationArgs:
    """Scales that are codes, `count` of them (256 weights) under one fp16 scale."""
    return QuantizationArgs(IntGrid(num_bits, signed), per_group(count), "absmax" if signed else "max", scale=HALF)


NVFP4_ARGS, NVFP4_MODELOPT = nvfp4("inverse"), nvfp4("absmax")
NVFP4_LOCAL, NVFP4_MODELOPT_LOCAL = (args.with_(dynamic="local") for args in (NVFP4_ARGS, NVFP4_MODELOPT))  # activations
MXFP4_ARGS = block_float(E2M1)
NF4_SCALE = QuantizationArgs(DYNAMIC8, per_run(256), "centred", scale=FP32, zero=FP32, zero_in="tensor")
NF4_ARGS = QuantizationArgs(NF4, per_group(64), "nf4", scale=NF4_SCALE)
GGUF_ARGS = {
    "Q4_0": symmetric(IntGrid(4)),
    "Q4_1": shifted(4),
    "Q5_0": symmetric(IntGrid(5)),
    "Q5_1": shifted(5),
    "Q8_0": symmetric(IntGrid(8)),
    "IQ4_NL": symmetric(IQ4_NL),
    "TQ2_0": symmetric(TQ2, group_size=256),
    "Q2_K": shifted(2, super_scale(4, False, 16), 16),
    "Q3_K": symmetric(IntGrid(3), super_scale(6, True, 16), 16),
    "Q4_K": shifted(4, super_scale(6, False, 8)),
    "Q5_K": shifted(5, super_scale(6, False, 8)),
    "Q6_K": symmetric(IntGrid(6), super_scale(8, True, 16), 16),
    "MXFP4": symmetric(E2M1, E8M0),
}
