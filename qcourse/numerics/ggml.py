"""How ggml finds scales and codes: the same bytes as llama.cpp's for the blocks of 32, its searches for the others.

    Q4_0 Q5_0   d = the loudest weight, with its sign, / -2^(B-1)     it lands on the outermost code exactly
    Q4_1 Q5_1   d = (max - min) / (2^B - 1)
    Q8_0        d = absmax / 127                                      halves away from zero
    TQ2_0       d = absmax, codes -1, 0, 1
    MXFP4       d = 2^(floor(log2(absmax)) - 2), and of two values that are equally near the smaller one
    K-quants, IQ4_NL                                                  numerics.ggml_search

Two things differ from `quantize`: codes are made with d as it is *before* it is rounded to fp16, and by multiplying by 1/d.
Source: ggml's `ggml-quants.c` (`quantize_row_*_ref`); byte for byte gguf-py's and libgguf's (tests/interop).
"""

import torch

from qcourse.numerics import ggml_search
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.codebooks import E8M0, TQ2
from qcourse.numerics.ggml_fits import half, reciprocal
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.shapes import Float, Tensor

PIECE = 1 << 17  # weights rounded at a time: what they need stays in the cache
Found = tuple[Tensor, Tensor | QTensor, Tensor | QTensor | None]  # codes, scale, minimum


def quantize_blocks(blocks: Float[Tensor, "R C G"], args: QuantizationArgs, importance: Tensor | None = None) -> Found:
    """Codes (R, C, G), scales and minima (R, C) of a recipe of GGUF. importance (K,): how much each column matters (an
    imatrix), for the formats that search.

    Raises ValueError for scales beyond fp16, and for an importance that nothing would use.
    """
    if isinstance(args.scale, QuantizationArgs) or args.grid == ggml_search.IQ4_NL:
        return ggml_search.search(blocks, args, importance)
    if importance is not None:
        raise ValueError(f"{args.grid} with one scale a block is not searched for: importance would change nothing")
    R, C, G = blocks.shape
    if args.scale == E8M0:
        return power_of_two(blocks.float(), args)
    codes = torch.empty((R * C, G), dtype=args.grid.dtype, device=blocks.device)
    d, m = (torch.empty(R * C, dtype=torch.float32, device=blocks.device) for _ in "dm")
    rule = shifted if args.zero is not None else rule_of(args)
    for a in range(0, R * C, max(1, PIECE // G)):
        part = slice(a, a + max(1, PIECE // G))
        codes[part], d[part], m[part] = rule(blocks.reshape(R * C, G)[part].float(), args.grid)
    d, m = (half(x).view(R, C) for x in (d, m))
    return codes.view(R, C, G), d, m if args.zero is not None else None


def rule_of(args: QuantizationArgs):
    """The rule for a grid without minima. Raises ValueError for a grid that ggml does not have."""
    if args.grid == TQ2 or args.grid == IntGrid(8):
        return away_from_zero
    if isinstance(args.grid, IntGrid):
        return signed_extreme
    raise ValueError(f"scaling='ggml' is for GGUF's formats; {args.grid} with one scale a block is none of them")


def power_of_two(blocks: Float[Tensor, "R C G"], args: QuantizationArgs) -> Found:
    """MXFP4: the OCP scale, floor(log2(absmax)) - 2; codes by the nearest value, of two the one towards zero."""
    exponents = E8M0.encode(blocks.abs().amax(-1) / 4)
    values = args.grid.decode(torch.arange(8, dtype=torch.uint8, device=blocks.device))
    y = blocks.abs() / E8M0.decode(exponents).unsqueeze(-1)
    codes = torch.bucketize(y, (values[1:] + values[:-1]) / 2).to(torch.uint8)
    return codes.add_(((blocks < 0) & (codes > 0)).to(torch.uint8) * 8), exponents, None


def loudest(x: Float[Tensor, "n G"]) -> Float[Tensor, "n 1"]:
    """The weight of the largest magnitude, with its sign; of two equal ones the first."""
    low, high = torch.aminmax(x, dim=-1, keepdim=True)
    found, ties = torch.where(high > -low, high, low), (high == -low).squeeze(-1)
    if ties.any():
        tied = x[ties]
        found[ties] = tied.gather(-1, tied.abs().argmax(-1, keepdim=True))
    return found + 0.0  # -0 → 0


def signed_extreme(x: Float[Tensor, "n G"], grid: IntGrid):
    """q = trunc(x/d + 2^(B-1) + 1/2) - 2^(B-1)."""
    d = loudest(x) / grid.qmin
    codes = (x * reciprocal(d)).add_(0.5 - grid.qmin).clamp_(0, -2 * grid.qmin - 0.5)
    return codes.to(torch.int8).add_(grid.qmin), d.squeeze(-1), 0


def shifted(x: Float[Tensor, "n G"], grid: IntGrid):
    """q = trunc((x - min)/d + 1/2), m = -min."""
    low, high = torch.aminmax(x, dim=-1, keepdim=True)
    d = (high - low) / grid.qmax
    codes = (x - low).mul_(reciprocal(d)).add_(0.5).clamp_(max=grid.qmax)
    return codes.to(torch.uint8), d.squeeze(-1), -low.squeeze(-1)


def away_from_zero(x: Float[Tensor, "n G"], grid):
    """q = round(x/d), halves away from zero; int8, or the places of -1, 0, 1."""
    low, high = torch.aminmax(x, dim=-1, keepdim=True)
    ternary = grid == TQ2
    d = torch.maximum(high, -low).abs_() / (1 if ternary else 127)  # of 0 and -0, the 0
    y = x * reciprocal(d)
    whole = y.trunc()
    codes = whole.add_((y - whole).mul_(2).trunc_())
    return (codes + 1).to(torch.uint8) if ternary else codes.to(torch.int8), d.squeeze(-1), 0
