"""One layer's recipe (`QuantizationScheme`), and the field's names for them: PRESETS.

`args` answers which grid, which granularity, which scale; `scheme` answers what gets quantized. The grammar
and the preset names are compressed-tensors' (W4A16 = 4-bit weights, 16-bit activations), GGUF's types keep theirs.
"""

from dataclasses import dataclass

import torch

from qcourse.numerics.args import QuantizationArgs, is_float, stored_bits
from qcourse.numerics.codebooks import TERNARY
from qcourse.numerics.formats import GGUF_ARGS, NF4_ARGS, NVFP4_ARGS, NVFP4_LOCAL, block_float
from qcourse.numerics.granularity import Granularity, per_block, per_channel, per_group, per_tensor, per_token
from qcourse.numerics.grids import E2M1, E2M3, E4M3, E5M2, FloatGrid, IntGrid

__all__ = ["PRESETS", "QuantizationArgs", "QuantizationScheme", "int_weight", "is_float", "stored_bits"]


@dataclass(frozen=True)
class QuantizationScheme:
    """What gets quantized in a Linear: always the weight; the input activations too, or not (None)."""

    weights: QuantizationArgs
    input_activations: QuantizationArgs | None = None


def int_weight(num_bits: int, granularity: Granularity, symmetric: bool = True) -> QuantizationArgs:
    """Integer weights: full range and absmax when symmetric; zero points (codes of the grid) and min/max when not."""
    grid = IntGrid(num_bits, signed=symmetric)
    return QuantizationArgs(grid, granularity) if symmetric else QuantizationArgs(grid, granularity, "minmax", zero=grid)


def float_zero(num_bits: int, granularity: Granularity) -> QuantizationArgs:
    """Unsigned codes, and zero points of a float in weight units (w = s·q - m): they keep their fractions, as in HQQ."""
    grid = IntGrid(num_bits, signed=False)
    return QuantizationArgs(grid, granularity, "minmax", zero=torch.bfloat16, zero_in="weights")


FP32 = torch.float32
INT8_TOKEN = QuantizationArgs(IntGrid(8), per_token, scale=FP32)
INT4_TOKEN = QuantizationArgs(IntGrid(4), per_token, scale=FP32)
INT8_TENSOR = QuantizationArgs(IntGrid(8), per_tensor, scale=FP32, dynamic=False)
INT8_BLOCKS = {G: QuantizationArgs(IntGrid(8), per_group(G), scale=FP32) for G in (32, 128)}
FP8_TOKEN = QuantizationArgs(E4M3, per_token, scale=FP32)
FP8_GROUP = QuantizationArgs(E4M3, per_group(128), scale=FP32)
FP8_TENSOR = QuantizationArgs(E4M3, per_tensor, scale=FP32, dynamic=False)


def fp8_weight(grid: FloatGrid, granularity: Granularity) -> QuantizationArgs:
    """8-bit float weights with fp32 scales (their cost is nil at these granularities)."""
    return QuantizationArgs(grid, granularity, scale=FP32)


PRESETS: dict[str, QuantizationScheme] = {
    "W8A16": QuantizationScheme(int_weight(8, per_channel)),
    "W8A16_TENSOR": QuantizationScheme(int_weight(8, per_tensor)),
    "W4A16": QuantizationScheme(int_weight(4, per_group(128))),
    "W4A16_CHANNEL": QuantizationScheme(int_weight(4, per_channel)),
    "W4A16_G64": QuantizationScheme(int_weight(4, per_group(64))),
    "W4A16_G32": QuantizationScheme(int_weight(4, per_group(32))),
    "W4A16_ASYM": QuantizationScheme(int_weight(4, per_group(128), symmetric=False)),
    "W4A16_FZERO": QuantizationScheme(float_zero(4, per_group(128))),
    "W3A16": QuantizationScheme(int_weight(3, per_group(128))),
    "W3A16_ASYM": QuantizationScheme(int_weight(3, per_group(128), symmetric=False)),
    "W3A16_FZERO": QuantizationScheme(float_zero(3, per_group(128))),
    "W2A16": QuantizationScheme(int_weight(2, per_group(128))),
    "W2A16_ASYM": QuantizationScheme(int_weight(2, per_group(128), symmetric=False)),
    "W2A16_FZERO": QuantizationScheme(float_zero(2, per_group(128))),
    "W8A8": QuantizationScheme(int_weight(8, per_channel), INT8_TOKEN),
    "W8A8_STATIC": QuantizationScheme(int_weight(8, per_channel), INT8_TENSOR),
    "W4A8_G128": QuantizationScheme(int_weight(4, per_group(128)), INT8_BLOCKS[128]),
    "W4A8_G32": QuantizationScheme(int_weight(4, per_group(32)), INT8_BLOCKS[32]),
    "W8A8_G128": QuantizationScheme(int_weight(8, per_group(128)), INT8_BLOCKS[128]),
    "W8A8_G32": QuantizationScheme(int_weight(8, per_group(32)), INT8_BLOCKS[32]),
    "FP8": QuantizationScheme(fp8_weight(E4M3, per_tensor), FP8_TENSOR),
    "FP8_DYNAMIC": QuantizationScheme(fp8_weight(E4M3, per_channel), FP8_TOKEN),
    "FP8A16_E5M2": QuantizationScheme(fp8_weight(E5M2, per_channel)),
    "FP8_BLOCK": QuantizationScheme(fp8_weight(E4M3, per_block(128, 128)), FP8_GROUP),
    "W4A8": QuantizationScheme(int_weight(4, per_group(128)), INT8_TOKEN),
    "W4A4": QuantizationScheme(int_weight(4, per_channel), INT4_TOKEN),
    "W4AFP8": QuantizationScheme(int_weight(4, per_group(128)), FP8_TOKEN),
    "MXFP8": QuantizationScheme(block_float(E4M3), block_float(E4M3)),
    "MXFP8A16": QuantizationScheme(block_float(E4M3)),
    "MXFP6A16": QuantizationScheme(block_float(E2M3)),
    "MXFP4": QuantizationScheme(block_float(E2M1), block_float(E2M1)),
    "MXFP4A16": QuantizationScheme(block_float(E2M1)),
    "NVFP4": QuantizationScheme(NVFP4_ARGS, NVFP4_LOCAL),
    "NVFP4A16": QuantizationScheme(NVFP4_ARGS),
    "NVFP4A16_46": QuantizationScheme(NVFP4_ARGS.with_(scaling="four_over_six")),
    "NF4": QuantizationScheme(NF4_ARGS),
    "TERNARY": QuantizationScheme(QuantizationArgs(TERNARY, per_group(64), "mean")),
    **{kind: QuantizationScheme(args) for kind, args in GGUF_ARGS.items() if kind != "MXFP4"},  # as MXFP4A16 is stored
}
