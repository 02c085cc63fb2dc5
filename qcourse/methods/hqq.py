"""HQQ: zero points by half-quadratic splitting, from the weights alone.

    min over z   Σ |w - s·(q - z)|^p,  p = 0.7     one w far off is forgiven, where a square would give everything for it
    repeat       q = nearest codes · e = shrink(w - ŵ) · z = mean of q - (w - e)/s over the block

e takes over the errors that are too large to be worth a compromise, and z then fits what is left, in closed form. s is that
of min/max and stays. shrink is 0 up to β^(-1/(2-p)), 0.17 for β = 10, in weight units: the errors of a language model's
weights are far below, so that e = 0 and z is the mean of q - w/s. The published code behaves like that, too.
An error inside the range is at most half a step, and so is the mean of them: a zero point that is a whole code cannot leave
it in one step, and hardly ever does. What HQQ gains, it gains from zero points with fractions.
Source: Badri & Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models", and mobiusml/hqq
(`optimize_weights_proximal_legacy`). Notebook 07.
"""

import torch

from qcourse.methods.calibration import InputStats
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.grids import Grid, IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, quantize, store, values_of
from qcourse.shapes import Float, Tensor


def shrink(x: Float[Tensor, "..."], beta: float, p: float) -> Float[Tensor, "..."]:
    """sign(x) · max(0, |x| - |x|^(p-1) / β): the proximal step of |x|^p, generalised soft thresholding.

    >>> shrink(torch.tensor([0.1, -1.0]), 10.0, 0.7)
    tensor([ 0.0000, -0.9000])
    """
    magnitude = x.abs()
    return (magnitude - magnitude.pow(p - 1) / beta).clamp(min=0) * x.sign()


def half_quadratic(
    blocks: Float[Tensor, "R C G"],
    s: Float[Tensor, "R C 1"],
    z: Float[Tensor, "R C 1"],
    grid: Grid,
    p: float = 0.7,
    beta: float = 10.0,
    kappa: float = 1.01,
    iters: int = 20,
) -> Float[Tensor, "R C 1"]:
    """The zero points after the iteration, which starts at z and ends when the mean |w - ŵ| of all blocks stops falling."""
    least = torch.inf
    for _ in range(iters):
        q = grid.decode(grid.encode(blocks / s + z))
        error = blocks - (q - z) * s
        z = (q - (blocks - shrink(error, beta, p)) / s).mean(-1, keepdim=True)
        beta *= kappa
        mean = error.abs().mean().item()
        if mean >= least:
            break
        least = mean
    return z


def hqq(
    W: Float[Tensor, "N K"], args: QuantizationArgs, stats: InputStats | None = None, name: str = "W", *, p: float = 0.7,
    beta: float = 10.0, kappa: float = 1.01, iters: int = 20,
) -> QTensor:  # fmt: skip
    """W with HQQ's zero points, stored as `args` say. No data: `stats` is not looked at.

    p: the norm, above 0 and at most 1 · beta, kappa: how hard e is held to the error, and what it grows by.
    Zero points of a float dtype keep their fractions (HQQ's own: zero_in="weights", m = s·z); those that are codes are
    rounded at the end. Codes are found again with what is stored. A block keeps its start (`quantize`) where that has the
    smaller Σ|w - ŵ|^p, so no block is worse by HQQ's own measure.

    Raises ValueError for a recipe that is symmetric or has zero points under a scale of their own, and what `quantize`
    raises. Cost: `iters` roundings.
    """
    if not (0 < p <= 1 and beta > 0 and kappa >= 1 and iters >= 1):
        raise ValueError(f"{p=}, {beta=}, {kappa=}, {iters=}: 0 < p <= 1, beta > 0, kappa >= 1 and iters >= 1 expected")
    refuse_unfit(args, name)
    start, blocks = quantize(W, args, name), args.granularity.blocks(W.float())
    if blocks.numel() != W.numel():
        raise ValueError(f"{name} {tuple(W.shape)} is not made of whole blocks ({args.granularity}); groups along K fit")
    s, z = (values_of(*t).float().unsqueeze(-1) for t in ((start.scale, args.scale), (start.zero_point, args.zero)))
    s = s.masked_fill(s == 0, 1.0)
    unit = s if args.zero_in == "weights" else torch.ones_like(s)  # of a stored zero point, in which z is counted in steps
    z = half_quadratic(blocks, s, z / unit, args.grid, p, beta, kappa, iters)
    kept, z = store((z * unit).squeeze(-1), args.zero)
    codes = args.grid.encode(blocks / s + z.unsqueeze(-1) / unit)
    end = QTensor(args.granularity.unblocks(codes, W.shape), start.scale, kept, args)
    return better_blocks(W, start, end, p)


def better_blocks(W: Float[Tensor, "N K"], start: QTensor, end: QTensor, p: float) -> QTensor:
    """Codes and zero point of each block from whichever has the smaller Σ|w - ŵ|^p; both have the same scales."""
    cut, args = start.args.granularity.blocks, start.args
    before, after = (cut((dequantize(q) - W.float()).abs().pow(p)).sum(-1) for q in (start, end))
    better = after < before
    codes = torch.where(better.unsqueeze(-1), cut(end.codes), cut(start.codes))
    zero = torch.where(better, end.zero_point, start.zero_point)
    return QTensor(args.granularity.unblocks(codes, W.shape), start.scale, zero, args)


def refuse_unfit(args: QuantizationArgs, name: str) -> None:
    """Raise ValueError for a recipe without zero points that could be moved one by one."""
    if args.zero is None:
        raise ValueError(f"{name}: HQQ finds zero points, and this recipe ({args.grid}) has none; W4A16_ASYM has them")
    if not isinstance(args.grid, IntGrid) or isinstance(args.zero, QuantizationArgs) or args.zero_in == "tensor":
        raise ValueError(
            f"{name}: HQQ moves each block's zero point by itself, on integers; {args.grid} with zero={args.zero} does not "
            "allow it; W4A16_ASYM and Q4_1 do"
        )
