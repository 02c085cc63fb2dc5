"""An importance matrix: choose scales so that the columns that meet large inputs come out best.

    importance_k = mean x_k²                          the diagonal of the Hessian: how much an error in column k costs
    least          Σ over a block of importance · (w - ŵ)²

Errors of different columns are taken to be independent; GPTQ and AutoRound look at the rest of the Hessian, too. GGUF's
searched formats have this measure built in (llama.cpp's `--imatrix`) and are handed the importance. Integer recipes get the
same idea here: shrunken ranges are tried, the best is refitted by least squares, and what plain rounding gives is among the
candidates.
Source: llama.cpp's `imatrix` tool and `make_qx_quants` (Kawrakow 2024).
"""

import torch

from qcourse.methods.calibration import InputStats
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.codebooks import IQ4_NL
from qcourse.numerics.grids import Grid, IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, quantize, values_of
from qcourse.shapes import Float, Tensor


def imatrix(
    W: Float[Tensor, "N K"],
    args: QuantizationArgs,
    stats: InputStats | None = None,
    name: str = "W",
    *,
    steps: int = 30,
    lowest: float = 0.4,
    refits: int = 3,
) -> QTensor:
    """W with the scales (and zero points) of least Σ importance · (w - ŵ)² among `steps` ranges, from the whole one down to
    `lowest` of it, then refitted `refits` times. Never worse by that measure than `quantize`.

    Shrinking a range from both ends leaves its zero point, in steps, where it is; the refit moves it.
    Raises ValueError without `stats`, for another K, for a format that has no such search, and what `quantize` raises.
    Cost: `steps` + `refits` roundings.
    """
    if stats is None:
        raise ValueError(f"{name}: an importance matrix comes from calibration; give this layer's `stats`")
    if W.shape[1] != stats.K:
        raise ValueError(f"{name} has K={W.shape[1]}, its calibration input has K={stats.K}")
    importance = stats.mean_square
    if args.scaling == "ggml" and (isinstance(args.scale, QuantizationArgs) or args.grid == IQ4_NL):
        return quantize(W, args, name, importance)
    if not isinstance(args.grid, IntGrid) or isinstance(args.scale, QuantizationArgs) or args.zero_in == "tensor":
        raise ValueError(
            f"{name}: there is no weighted search for {args.grid} with these scales; integers with one scale a block "
            "(W4A16, W4A16_ASYM, Q4_0), K-quants and IQ4_NL have one"
        )
    best = quantize(W, args, name)
    cut = args.granularity.blocks
    x, weight = cut(W.float()), cut(importance.to(W.device).expand(W.shape))
    s, z = parameters(best)
    least = ((x - values(best)).square_().mul_(weight)).sum(-1)
    for shrink in torch.linspace(1.0, lowest, steps).tolist():
        best, least = better(x, weight, s * shrink, z, best, least)
    for _ in range(refits):
        best, least = better(x, weight, *refitted(x, weight, best), best, least)
    return best


def parameters(q: QTensor) -> tuple[Tensor, Tensor | None]:
    """(s, z) of q's blocks, (R, C, 1) each: w = s·(q - z), whatever way they are stored."""
    s = values_of(q.scale, q.args.scale).float().unsqueeze(-1)
    if q.zero_point is None:
        return s, None
    z = values_of(q.zero_point, q.args.zero).float().unsqueeze(-1)
    return s, z if q.args.zero_in == "steps" else z / s.masked_fill(s == 0, torch.inf)


def values(q: QTensor) -> Float[Tensor, "R C G"]:
    """What the codes stand for, block by block."""
    return q.args.granularity.blocks(dequantize(q))


def stored(x: Float[Tensor, "R C 1"], how: Grid | torch.dtype) -> Tensor:
    """Scales or zero points as they are kept. A candidate that the dtype cannot hold is no error: another will be better."""
    return how.encode(x.squeeze(-1)) if isinstance(how, Grid) else x.squeeze(-1).to(how)


def better(x: Tensor, weight: Tensor, s: Tensor, z: Tensor | None, best: QTensor, least: Tensor) -> tuple[QTensor, Tensor]:
    """(QTensor, error): each block with scale s and zero point z where that beats `best`, with codes for both as stored."""
    args = best.args
    zero = None if z is None else stored(z if args.zero_in == "steps" else z * s, args.zero)
    tried = QTensor(best.codes, stored(s, args.scale), zero, args)
    s, z = parameters(tried)
    y = x / s.masked_fill(s == 0, torch.inf)
    codes = args.grid.encode(y if z is None else y + z)
    cut, join = args.granularity.blocks, args.granularity.unblocks
    tried = QTensor(join(codes, best.shape), tried.scale, zero, args)
    error = ((x - values(tried)).square_().mul_(weight)).sum(-1)
    wins = error < least
    codes = join(torch.where(wins.unsqueeze(-1), codes, cut(best.codes)), best.shape)
    zero = None if zero is None else torch.where(wins, zero, best.zero_point)
    return QTensor(codes, torch.where(wins, tried.scale, best.scale), zero, args), torch.where(wins, error, least)


def refitted(x: Tensor, weight: Tensor, q: QTensor) -> tuple[Tensor, Tensor | None]:
    """(s, z) of least weighted squares for the codes of q. A block whose codes do not determine them keeps its own.

    s = Σ i·(q - q̄)(w - w̄) / Σ i·(q - q̄)²      z = q̄ - w̄/s      means weighted by i; without zero points q̄ = w̄ = 0
    """
    codes, (s, z) = q.args.grid.decode(q.args.granularity.blocks(q.codes)), parameters(q)
    total, center_q, center_w = weight.sum(-1, keepdim=True), 0, 0
    if z is not None:
        center_q, center_w = ((weight * t).sum(-1, keepdim=True) / total for t in (codes, x))
    dq, dw = codes - center_q, x - center_w
    fit = (weight * dq * dw).sum(-1, keepdim=True) / (weight * dq.square()).sum(-1, keepdim=True)
    usable = torch.isfinite(fit) & (fit * s > 0)
    fit = torch.where(usable, fit, s)
    return fit, None if z is None else torch.where(usable, center_q - center_w / fit, z)
