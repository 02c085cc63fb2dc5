"""Choosing the scale. Every method takes blocks (rows, groups, G) and returns (rows, groups, 1), in fp32.

absmax      nothing is clipped; one outlier coarsens its whole block
minmax      for one-sided data: a zero point shifts the grid so that no code is wasted
percentile  ignore the largest few: their error grows, everyone else's shrinks
mse         try shrunken ranges, keep the one with the smallest squared error
floor, even, ceil, round_up   a power of two, as the MX formats have it: roundings of the exponent
mean        mean |w|, for ternary weights
max         for numbers that are never negative, on a grid from 0: the scales of K-quants
"""

import math

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.grids import Grid
from qcourse.shapes import Float, Tensor

TINY = torch.finfo(torch.float32).tiny


def positive(scale: Float[Tensor, "r g 1"]) -> Float[Tensor, "r g 1"]:
    """The zero-scale guard: an all-zero block gets scale 1 (its codes are 0 either way), an underflow the least float.

    Without it, 0/0 = NaN fills the block and, through the matmul, the layer.
    """
    return torch.where(scale == 0, torch.ones_like(scale), scale.clamp(min=TINY))


def block_absmax(blocks: Float[Tensor, "r g G"]) -> Float[Tensor, "r g 1"]:
    """max |w| of each block without a temporary the size of W. NaN and inf come through (quantize refuses them)."""
    low, high = torch.aminmax(blocks, dim=-1, keepdim=True)
    return torch.maximum(high, -low).abs_().float()  # of 0 and -0, the 0


def absmax(blocks: Float[Tensor, "r g G"], grid: Grid) -> Float[Tensor, "r g 1"]:
    """scale = max|w| / limit: the outermost weight lands on the outermost code.

    Error: |w - ŵ| ≤ s/2 for integers. Source: Jacob et al. 2018. Notebook 01 §1.
    """
    return positive(block_absmax(blocks) / grid.limit)


def minmax(blocks: Float[Tensor, "r g G"], grid: Grid) -> tuple[Float[Tensor, "r g 1"], Float[Tensor, "r g 1"]]:
    """scale = (max - min)/(2^B-1), zero_point = round(qmin - min/scale); the range is stretched to contain 0.

    Source: IST-DASLab/gptq `Quantizer` (Frantar et al. 2022). Notebook 01 §4.
    """
    low, high = torch.aminmax(blocks, dim=-1, keepdim=True)
    low, high = low.float().clamp(max=0), high.float().clamp(min=0)
    levels = grid.qmax - grid.qmin
    scale = positive(high / levels - low / levels)  # divided first: max - min can overflow
    return scale, (grid.qmin - low / scale).round_().clamp_(grid.qmin, grid.qmax)


def minimum(blocks: Float[Tensor, "r g G"], args: QuantizationArgs) -> tuple[Float[Tensor, "r g 1"], Float[Tensor, "r g 1"]]:
    """scale = (max - min)/(2^B-1) and m = -min in weight units: w = s·q - m, for codes from 0.

    Where m is itself stored as unsigned codes (K-quants) it cannot be negative: the range is stretched to contain 0.
    Source: ggml's Q4_1 (`quantize_row_q4_1_ref`), which stores min = -m, and `make_qkx2_quants`.
    """
    low, high = torch.aminmax(blocks, dim=-1, keepdim=True)
    low, high, grid = low.float(), high.float(), args.grid
    if isinstance(args.zero, QuantizationArgs) and args.zero.grid.dtype == torch.uint8:
        low = low.clamp(max=0)
    return positive(high / grid.qmax - low / grid.qmax), -low


def maximum(blocks: Float[Tensor, "r g G"], grid: Grid) -> Float[Tensor, "r g 1"]:
    """scale = max / (2^B-1), for codes from 0. Raises ValueError for a negative number: it has no code."""
    if (blocks < 0).any():
        raise ValueError(f"scaling='max' is for numbers that are never negative, and {blocks.min():.3g} is among these")
    return positive(block_absmax(blocks) / grid.qmax)


def mean(blocks: Float[Tensor, "r g G"], grid: Grid) -> Float[Tensor, "r g 1"]:
    """scale = mean |w|: for -1, 0, 1, where absmax would leave nearly everything at 0.

    Source: Ma et al. 2024, BitNet b1.58 (arXiv:2402.17764).
    """
    return positive(blocks.float().abs().mean(-1, keepdim=True))


def inverse(blocks: Float[Tensor, "r g G"], grid: Grid) -> Float[Tensor, "r g 1"]:
    """absmax by way of the reciprocal: 1 / (limit / max|w|), the bits that a file with a dividing scale leads to."""
    return positive(1 / (grid.limit / positive(block_absmax(blocks))))


def exponent(rule: str):
    """The scale of MX formats: a power of two, 2^(e - emax), emax that of the grid's largest number. e is, by `rule`:

        floor     floor(log2 absmax): the loudest may lie beyond the grid, and saturates (OCP, torchao FLOOR)
        even      the same, but rounded up first as a mantissa of the grid's width would be (torchao EVEN)
        even_fp4  the same with FP4's one bit, whatever the grid is       (compressed-tensors' MXFP8)
        ceil      ceil(log2 absmax)                                                        (torchao CEIL)
        round_up  the least at which nothing saturates: ceil(log2(absmax / limit)) + emax  (torchao RCEIL)

    All are exact: exponents are read from the float's own bits. Source: OCP Microscaling Formats v1.0, §6.3.
    """

    def rounded(blocks: Float[Tensor, "r g G"], grid: Grid) -> Float[Tensor, "r g 1"]:
        absmax, emax = block_absmax(blocks), math.frexp(grid.limit)[1] - 1
        loudest = absmax
        if rule in ("even", "even_fp4"):
            width = 1 if rule == "even_fp4" else grid.mantissa_bits
            loudest = (loudest.view(torch.int32) + (1 << (22 - width))).view(torch.float32)
        if rule == "round_up":
            loudest = loudest / (grid.limit * 2.0**-emax)
        fraction, e = torch.frexp(loudest)
        e = e - (fraction == 0.5).int() if rule in ("ceil", "round_up") else e - 1
        e = (e - emax).clamp_(-127, 127).masked_fill_(absmax == 0, -127)
        return torch.ldexp(torch.ones_like(absmax), e)

    return rounded


def percentile(blocks: Float[Tensor, "r g G"], grid: Grid, p: float = 0.99) -> Float[Tensor, "r g 1"]:
    """scale from the p-quantile of |w| (the smallest magnitude with at least p·G at or below it).

    Raises ValueError unless 0 < p <= 1. p = 1 is absmax. Source: Wu et al. 2020 (arXiv:2004.09602).
    """
    if not 0 < p <= 1:
        raise ValueError(f"percentile p={p}: between 0 (exclusive) and 1")
    k = max(1, -int(-p * blocks.shape[-1] // 1))
    quantile = blocks.abs().kthvalue(k, dim=-1, keepdim=True).values.float()
    quantile = torch.where(quantile == 0, block_absmax(blocks), quantile)  # nearly all zero: keep what there is
    return positive(quantile / grid.limit)


def mse(blocks: Float[Tensor, "r g G"], grid: Grid, steps: int = 40, lowest: float = 0.4) -> Float[Tensor, "r g 1"]:
    """The scale among `steps` shrinkings absmax·{1 … lowest}/limit with the least Σ(w - ŵ)² in each block.

    Cost: `steps` rounds of quantization. The first candidate is absmax. Notebook 01 §5.
    """
    full = absmax(blocks, grid)
    best, best_error = full.clone(), torch.full_like(full, torch.inf)
    x = blocks.float()
    for shrink in torch.linspace(1.0, lowest, steps).tolist():
        scale = positive(full * shrink)
        decoded = grid.decode(grid.encode(x / scale)).mul_(scale)
        error = decoded.sub_(x).square_().sum(-1, keepdim=True)
        better = error < best_error
        best, best_error = torch.where(better, scale, best), torch.where(better, error, best_error)
    return best


def choose(blocks: Float[Tensor, "r g G"], args: QuantizationArgs) -> tuple[Tensor, Tensor | None]:
    """(scale, zero point or None), (rows, groups, 1) each, by the rule that `args.scaling` names."""
    if args.scaling == "minmax":
        return minmax(blocks, args.grid) if args.zero_in == "steps" else minimum(blocks, args)
    return RULES[args.scaling](blocks, args.grid), None


RULES = {
    "absmax": absmax, "percentile": percentile, "mse": mse, "max": maximum, "mean": mean, "inverse": inverse,
    **{rule: exponent(rule) for rule in ("floor", "even", "even_fp4", "ceil", "round_up")},
}  # fmt: skip
