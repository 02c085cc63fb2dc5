"""AutoRound: learn which way each weight is rounded, and how far its block's range reaches, by the sign of the gradient.

    ŵ = s · (clamp(round(w/s + z + v)) - z)      s, z of the range β·low … α·high;  v in [-½, ½], α and β in [½, 1]
    least  tr((Ŵ - W) H (Ŵ - W)ᵀ)                 H = XᵀX / tokens: the squared error of this layer's output
    step   v -= η · sign(∂/∂v), and so α, β       η falls from 1/iters to 0: all steps together can just move v by ½

round passes gradients straight through. All weights move equally far, whatever their gradients' sizes, so that no learning
rate has to be found, and for the same reason the error does not only fall: with 4 bits it may end above plain rounding's.
The best state is kept, and plain rounding is the first of them: nothing worse ever comes out.
What the paper does and this does not: there, V, α and β of a whole decoder block are learnt together, from the error of
that block's output on mini-batches; here each layer answers for its own output, over all tokens at once. Then the rows of W
have nothing to do with each other, and each keeps its own best state.
Source: Cheng et al. 2023 (arXiv:2309.05516), and intel/auto-round (`quant_tensor_sym`, `quant_tensor_asym`). Notebook 07.
"""

import torch

from qcourse.methods.calibration import InputStats
from qcourse.methods.imatrix import parameters
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, quantize, store
from qcourse.shapes import Float, Tensor


@torch.inference_mode(False)
@torch.enable_grad()
def autoround(
    W: Float[Tensor, "N K"], args: QuantizationArgs, stats: InputStats | None = None, name: str = "W", *, iters: int = 200
) -> QTensor:
    """Integer codes of W, and scales as `args` store them, after `iters` signed steps. Deterministic.

    H is the Hessian of `stats`, or comes from its sample. Any integer recipe, K-quants included (their scales are found anew
    in each step). Raises ValueError without statistics, for another K, for grids other than integers, and what `quantize`
    raises. Cost, `iters` times: 2·N·K² and about twenty passes over W.
    """
    if not isinstance(args.grid, IntGrid) or args.zero_in == "tensor":
        raise ValueError(
            f"{name}: AutoRound learns to round to integers, not to {args.grid}; W4A16, W4A16_ASYM or W2A16 fit"
        )
    if iters < 1:
        raise ValueError(f"iters={iters}: at least 1 step")
    H, W = second_moment(stats, W, name), W.detach().clone()
    best, W = quantize(W, args, name), W.float()
    D = dequantize(best) - W
    least = ((D @ H) * D).sum(1)
    cut, join = args.granularity.blocks, args.granularity.unblocks
    blocks, ends = cut(W), reach(best)
    v, alpha, beta = torch.zeros_like(blocks), torch.ones_like(ends[0]), torch.ones_like(ends[0])
    for i in range(iters + 1):
        learnt = [t.requires_grad_() for t in (v, alpha, beta)]
        codes, scale, zero, values = rounded(blocks, *learnt, ends, args)
        D = join(values.detach(), W.shape) - W
        half = D @ H  # of the gradient with respect to Ŵ
        best, least = better(QTensor(join(codes, W.shape), scale, zero, args), (half * D).sum(1), best, least)
        step = (1 - i / iters) / iters
        slopes = torch.autograd.grad(values, learnt, cut(half))
        v, alpha, beta = (t.detach() - step * g.sign() for t, g in zip(learnt, slopes, strict=True))
        v, alpha, beta = v.clamp_(-0.5, 0.5), alpha.clamp_(0.5, 1), beta.clamp_(0.5, 1)
    return best


def better(
    found: QTensor, loss: Float[Tensor, "N"], best: QTensor, least: Float[Tensor, "N"]
) -> tuple[QTensor, Float[Tensor, "N"]]:
    """Each row from whichever has the smaller loss; all rows from one where they share scales (or those share one)."""
    args = best.args
    if args.granularity.rows != 1 or isinstance(args.scale, QuantizationArgs):
        return (found, loss) if loss.sum() < least.sum() else (best, least)
    wins = loss < least
    row = wins.unsqueeze(1)
    zero = None if best.zero_point is None else torch.where(row, found.zero_point, best.zero_point)
    codes, scale = torch.where(row, found.codes, best.codes), torch.where(row, found.scale, best.scale)
    return QTensor(codes, scale, zero, args), torch.where(wins, loss, least)


def second_moment(stats: InputStats | None, W: Float[Tensor, "N K"], name: str) -> Float[Tensor, "K K"]:
    """H = XᵀX / tokens in fp32. Raises ValueError when there is none, or it belongs to another layer."""
    if stats is None:
        raise ValueError(f"{name}: AutoRound needs to know this layer's input; calibrate, and give its `stats`")
    if W.shape[1] != stats.K:
        raise ValueError(f"{name} has K={W.shape[1]}, its calibration input has K={stats.K}")
    if stats.hessian is not None:
        return (stats.hessian / stats.tokens).float().to(W.device)
    x = stats.sample.to(W.device)
    return x.T @ x / len(x)


def reach(q: QTensor) -> tuple[Float[Tensor, "R C 1"], Float[Tensor, "R C 1"]]:
    """(low, high): what the outermost codes of each block stand for; of a symmetric one 0, and the whole width."""
    (s, z), grid = parameters(q), q.args.grid
    if z is None:
        return torch.zeros_like(s), s * (grid.qmax - grid.qmin)
    return s * (grid.qmin - z), s * (grid.qmax - z)


def passed(x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """y, exactly; to the gradient it is x: straight through whatever rounding made y of x."""
    return y.detach() + (x - x.detach())


def rounded(
    blocks: Float[Tensor, "R C G"],
    v: Tensor,
    alpha: Tensor,
    beta: Tensor,
    ends: tuple[Tensor, Tensor],
    args: QuantizationArgs,
) -> tuple:
    """(codes, scale, zero point, ŵ (R, C, G)) for rounding offsets v and the range β·low … α·high, with s and z as they are
    stored; ŵ carries gradients. Symmetric: low is 0, α scales the whole width."""
    (low, high), grid, in_steps = ends, args.grid, args.zero_in == "steps"
    s = (alpha * high - beta * low) / (grid.qmax - grid.qmin)
    scale, kept = store(s.detach().squeeze(-1), args.scale)
    s = passed(s, kept.unsqueeze(-1))
    safe = s.masked_fill(s == 0, torch.inf)
    x, zero, z = blocks / safe, None, 0
    if args.zero is not None:
        z = grid.qmin - beta * low / safe
        z = z if in_steps else z * s
        zero, kept = store(z.detach().squeeze(-1), args.zero)
        z = passed(z, kept.unsqueeze(-1))
        z = z if in_steps else z / safe
    t = x + z + v
    q = passed(t, t.round()).clamp(grid.qmin, grid.qmax)
    return q.detach().to(grid.dtype), scale, zero, (q - z) * s
