"""Scales of two levels: a small float a block, under one fp32 number for all of them. NVFP4, in both directions.

    "absmax"    t = max|w| / (448·6)      multiplies:  s = t·e4m3(absmax / (6·t))          ModelOpt's weight_scale_2
    "inverse"   g = 448·6 / max|w|        divides:     s = e4m3(g·absmax / 6) / g          compressed-tensors' global scale

Both are the same numbers up to the last bit, and that bit decides codes; bytes are equal only in the same direction. They
also differ where a block's scale comes out as 0: ModelOpt stores at least 2^-9 (and 1 for zeros), compressed-tensors 0.125.

"four over six": E2M1 has nothing between 4 and 6, so a block whose second-loudest weights fall there loses much. Scaled so
that its loudest lands on 4 instead, it has finer steps at the top. Each block takes the better of the two; room for the
larger scale is made by letting 256, not 448, stand for the loudest block. Source: Cook et al. 2025 (arXiv:2512.02010).
"""

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.grids import FloatGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.shapes import Float, Tensor

LEAST = {"absmax": 2.0**-9, "inverse": 0.125}  # what is stored for a scale that would be 0
PIECE = 1 << 18


def scales(
    blocks: Float[Tensor, "R C G"],
    absmax: Float[Tensor, "R C 1"],
    args: QuantizationArgs,
    peak: float | None = None,
    above: Float[Tensor, "1 1"] | None = None,
) -> tuple[QTensor, Float[Tensor, "R C"]]:
    """The scales as stored, and their values.

    peak: max|w| of all the matrices that have to share the number above (q, k and v in one product); None: this one's.
    above: that number itself, as a file holds it, found on a text (activations): louder blocks saturate.
    Raises ValueError for a peak below this tensor's own.
    """
    inner, grid, top = args.scale, args.grid, absmax.squeeze(-1)
    if above is not None:
        return below(top, above, grid.limit, args)
    own = top.amax() if inner.granularity.rows is None else top.amax(-1, keepdim=True)
    if peak is not None and not (own <= peak).all():
        raise ValueError(
            f"peak={peak:.4g}, but the loudest weight here is {own.max():.4g}: take the maximum over all of them"
        )
    above = own if peak is None else torch.full_like(own, peak)
    above = above.expand(len(top), 1) if inner.granularity.rows else above.view(1, 1)
    if args.scaling == "four_over_six":
        return better_of(blocks, top, above, args)
    return stored(top, above, grid.limit, inner.grid.limit, args)


def stored(top, above, code: float, limit: float, args: QuantizationArgs) -> tuple[QTensor, Tensor]:
    """absmax (R, C) → scales with which it lands on `code`, when `limit` stands for the loudest of all (above)."""
    return below(top, upper(above, limit, args), code, args)


def divides(args: QuantizationArgs) -> bool:
    """Whether the number above the scales, as a file holds it, divides."""
    return isinstance(args.scale, QuantizationArgs) and args.scale.scaling == "inverse"


def upper(peak: Float[Tensor, "*shape"], limit: float, args: QuantizationArgs) -> Float[Tensor, "*shape"]:
    """The number above the scales as a file holds it, when a scale of `limit` is to stand for blocks as loud as `peak`."""
    if divides(args):
        least = torch.finfo(torch.float32).tiny
        return torch.nan_to_num(limit * args.grid.limit / peak.clamp(min=least), posinf=1.0)
    t = peak / (args.grid.limit * limit)
    return torch.where(t == 0, torch.ones_like(t), t)


def below(top, above, code: float, args: QuantizationArgs) -> tuple[QTensor, Tensor]:
    """absmax (R, C) → scales under that number, with which it lands on `code`."""
    grid, direction = args.scale.grid, args.scale.scaling
    if direction == "inverse":
        codes = grid.encode(above * (top / code))
        codes[codes == 0] = grid.encode(torch.tensor(LEAST[direction])).to(codes.device)
        return QTensor(codes, 1 / above.double(), None, args.scale), grid.decode(codes) / above
    t, s = above, top / (code * above)
    codes = grid.encode(torch.where(s == 0, torch.ones_like(s), s.clamp(min=LEAST[direction])))
    return QTensor(codes, t, None, args.scale), grid.decode(codes) * t


def better_of(blocks, top, above, args: QuantizationArgs) -> tuple[QTensor, Tensor]:
    """Of the scales that put a block's loudest weight on 6 and on 4, the one with the smaller squared error."""
    (six, s6), (four, s4) = (stored(top, above, code, 256.0, args) for code in (args.grid.limit, 4.0))
    choose = torch.cat([squared(b, s6[i], args.grid) > squared(b, s4[i], args.grid) for i, b in pieces(blocks)])
    codes = torch.where(choose, four.codes, six.codes)
    return QTensor(codes, six.scale, None, args.scale), torch.where(choose, s4, s6)


def pieces(blocks):
    """(rows, blocks of these rows), some at a time."""
    step = max(1, PIECE // (blocks.shape[1] * blocks.shape[2]))
    return ((slice(a, a + step), blocks[a : a + step]) for a in range(0, len(blocks), step))


def squared(x: Float[Tensor, "r C G"], s: Float[Tensor, "r C"], grid: FloatGrid) -> Float[Tensor, "r C"]:
    """Σ(w - ŵ)² of each block."""
    s = s.unsqueeze(-1)
    return (grid.decode(grid.encode(x.float() / s)) * s - x).square_().sum(-1)
