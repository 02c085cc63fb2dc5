"""GPTQ: round one column, and let those that are not rounded yet repair its error.

    least   Σ over tokens of (x · (w - ŵ))² = (w - ŵ) H (w - ŵ)ᵀ          H = XᵀX, for each row w of W by itself
    step    e = (w_j - ŵ_j) / U_jj          w_k -= e · U_jk  for k > j    UᵀU = H⁻¹, U upper triangular

Row j of U, from the diagonal on, is what optimal brain surgery asks for: that row of the inverse of H without the columns
that are done, over the root of its diagonal. It never changes, so one factor serves all rows and all columns.
Any grid: a format finds its scales first, or, where groups have plain scales of their own, when the group's turn has come.
Source: Frantar et al. 2022 (arXiv:2210.17323); Hassibi & Stork 1993. Group-aware order: GPTQModel. Notebook 06.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from qcourse.methods.calibration import InputStats
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.fixed import Steps, steps_of
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import quantize
from qcourse.shapes import Float, Integer, Tensor

ORDERS = ("none", "static", "group")
BLOCK = 128  # columns that are repaired at once; all behind them wait for one product


@dataclass(frozen=True)
class Factor:
    """U (K, K) upper triangular with UᵀU = H⁻¹ · notes: what had to be done to H first, in words."""

    U: Float[Tensor, "K K"]
    notes: tuple[str, ...] = ()


def inverse_factor(H: Float[Tensor, "K K"], damp: float = 0.01, turn: Integer[Tensor, "K"] | None = None) -> Factor:
    """U of the damped H, in fp64, its channels in the order `turn`: H + damp · mean(diag H), or ten times as much, until
    that is positive definite.

    H read from the last channel to the first has a Cholesky factor L; read back, that is an upper triangular V with
    H = V Vᵀ, and U = V⁻¹: one factorization, and no inverse is formed. A dead channel (H_jj = 0) gets the mean of the
    others: it repairs nothing and is repaired by nothing. Raises ValueError for NaN or inf, for damp outside (0, 1], and
    when no damping helps.
    """
    if not 0 < damp <= 1:
        raise ValueError(f"damp={damp}: a share of the mean diagonal, above 0 and at most 1")
    if not torch.isfinite(H).all():
        raise ValueError(f"the Hessian holds NaN or inf in channel {int((~torch.isfinite(H)).any(1).nonzero()[0])}")
    H, notes = H.double().clone(), []
    diagonal = H.diagonal()
    dead = diagonal <= 0
    if dead.all():
        raise ValueError("every channel of the calibration input is zero: there is nothing to learn from it")
    mean = diagonal[~dead].mean()
    if dead.any():
        notes.append(f"{int(dead.sum())} dead channels (first: {int(dead.nonzero()[0])}) are rounded to nearest")
        diagonal[dead] = mean
    H = H if turn is None else H[turn][:, turn]
    while damp <= 1:
        L, failed = torch.linalg.cholesky_ex((H + torch.diag(torch.full_like(diagonal, damp * mean))).flip(0, 1))
        if not failed:
            return Factor(triangular_inverse(L.flip(0, 1)), tuple(notes))
        damp *= 10
        notes.append(f"not positive definite (too few samples?): damping raised to {damp:g}")
    raise ValueError("the Hessian is not positive definite, whatever the damping: more calibration text is needed")


def triangular_inverse(V: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
    """V⁻¹ of an upper triangular V, by halves: K³/3 operations, nearly all of them in products.

    [[A, B], [0, D]]⁻¹ = [[A⁻¹, -A⁻¹ B D⁻¹], [0, D⁻¹]]
    """
    K = len(V)
    if K <= BLOCK:
        return torch.linalg.solve_triangular(V, torch.eye(K, dtype=V.dtype, device=V.device), upper=True)
    half, U = K // 2, torch.zeros_like(V)
    A, D = U[:half, :half], U[half:, half:]
    A[:], D[:] = triangular_inverse(V[:half, :half]), triangular_inverse(V[half:, half:])
    U[:half, half:] = -A @ V[:half, half:] @ D
    return U


def processing_order(diagonal: Float[Tensor, "K"], args: QuantizationArgs, order: str) -> Integer[Tensor, "K"] | None:
    """In which order columns are rounded (None: as they stand): the loudest first, while many are left to repair them.

    static   over all of W; the scales have to be found beforehand, because a group's columns do not come together
    group    groups by their loudest column, and columns within each group: scales can wait. Neither needs a g_idx
    """
    if order not in ORDERS:
        raise ValueError(f"act_order={order!r}: one of {', '.join(ORDERS)}")
    if order == "none":
        return None
    if order == "static" or args.group_size is None:
        return diagonal.argsort(descending=True, stable=True)
    groups = diagonal.view(-1, args.group_size)
    inner = groups.argsort(dim=1, descending=True, stable=True) + args.group_size * torch.arange(len(groups)).unsqueeze(1)
    return inner[groups.amax(1).argsort(descending=True, stable=True)].flatten()


def gptq(
    W: Float[Tensor, "N K"],
    args: QuantizationArgs,
    stats: InputStats | None,
    name: str = "W",
    *,
    damp: float = 0.01,
    act_order: str = "static",
    peak: float | None = None,
) -> QTensor:
    """Codes of W on any grid, rounded column by column with repair, for the inputs that `stats` saw.

    `stats` needs its Hessian (`InputStats(K, with_hessian=True)`). peak: as in `quantize`. What had to be done to
    H (dead channels, more damping, fewer tokens than channels) is said as a warning. Raises ValueError without
    statistics, for another K, for NaN or inf, and when G does not divide K. Cost: K³ for the factor and 2·N·K² for the
    repairs, no data beyond H.
    """
    H = None if stats is None else stats.hessian
    if H is None:
        raise ValueError(f"{name}: GPTQ needs the Hessian of this layer's input; calibrate with hessian=True")
    if W.shape[1] != stats.K:
        raise ValueError(f"{name} has K={W.shape[1]}, its calibration input has K={stats.K}")
    start = quantize(W, args, name, peak=peak)
    order = processing_order(stats.mean_square, args, act_order)
    turn = torch.arange(stats.K) if order is None else order
    try:
        factor = inverse_factor(H, damp, None if order is None else turn)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    notes = [*factor.notes]
    if stats.tokens < stats.K:
        notes.append(f"{stats.tokens} tokens for {stats.K} channels: where they say nothing, only the damping speaks")
    for note in notes:
        warnings.warn(f"{name}: {note}", stacklevel=2)
    if act_order != "static" and own_scales(args):
        return with_late_scales(W.float(), args, factor.U.float(), turn)
    return with_early_scales(W.float(), start, factor.U.float(), turn)


def own_scales(args: QuantizationArgs) -> bool:
    """Whether each group of a row has scales that stand for themselves, so that they can be found one after the other."""
    plain = not isinstance(args.scale, QuantizationArgs) and args.scaling != "ggml"
    return plain and args.granularity.rows == 1 and args.group_size is not None


def with_early_scales(
    W: Float[Tensor, "N K"], start: QTensor, U: Float[Tensor, "K K"], turn: Integer[Tensor, "K"]
) -> QTensor:
    """The codes under scales that were found beforehand."""
    steps = steps_of(start).of(lambda t: t.T[turn].contiguous())
    codes = walk(W, U, turn, BLOCK, start.args, lambda columns, i: steps.at(slice(i, i + BLOCK)))
    return QTensor(codes, start.scale, start.zero_point, start.args)


def with_late_scales(
    W: Float[Tensor, "N K"], args: QuantizationArgs, U: Float[Tensor, "K K"], turn: Integer[Tensor, "K"]
) -> QTensor:
    """The codes under scales that each group finds when its turn has come, repairs included."""
    G, found = args.group_size, {}

    def find(columns: Tensor, i: int) -> Steps:
        group = found[int(turn[i]) // G] = quantize(columns.T.contiguous(), args)
        return steps_of(group).of(lambda t: t.T.contiguous())

    codes = walk(W, U, turn, G, args, find)
    groups = [found[g] for g in range(len(found))]
    zero = None if args.zero is None else torch.cat([g.zero_point for g in groups], 1)
    return QTensor(codes, torch.cat([g.scale for g in groups], 1), zero, args)


def walk(W: Tensor, U: Tensor, turn: Tensor, size: int, args: QuantizationArgs, scales: Callable) -> Tensor:
    """Codes (N, K), `size` columns at a time in the order `turn`; scales(columns, i): the block's, (size, N)."""
    columns = W.T[turn]  # (K, N): a column of W is contiguous here
    codes = torch.empty(columns.shape, dtype=args.grid.dtype)
    for i in range(0, len(columns), size):
        j, behind = slice(i, i + size), slice(i + size, None)
        codes[turn[j]], errors = round_block(columns[j], scales(columns[j], i), U[j, j])
        columns[behind] -= U[j, behind].T @ errors
    return codes.T.contiguous()


def round_block(columns: Tensor, steps: Steps, U: Tensor) -> tuple[Tensor, Tensor]:
    """(codes, errors over U_jj), both (block, N), of a block of columns (block, N): each is repaired by those before it, in
    one product, when its turn has come."""
    codes, errors = torch.empty(columns.shape, dtype=steps.args.grid.dtype), torch.zeros_like(columns)
    for j, column in enumerate(columns):
        w, here = column - errors[:j].T @ U[:j, j], steps.at(j)
        codes[j] = here.encode(w)
        errors[j] = (w - here.decode(codes[j])) / U[j, j]
    return codes, errors
