"""ggml's searched formats: many scales are tried, each is refitted by least squares, and the best is kept.

    IQ4_NL           w = d·v[q], v a codebook of 16 values       15 places for the loudest weight
    Q3_K Q6_K        w = d·s·q                                   scales of 16 weights first, then codes s for these scales
    Q2_K Q4_K Q5_K   w = d·s·q - dmin·m                          scales and minima, then codes s and m for them

At the end the weights' codes are rounded anew, with the scales as they are stored. Loud weights count more; with an imatrix
each column counts `importance` times. Two levels of scales are why Q4_K takes 4.5 bits and beats int4 with G = 32.
Source: ggml's `ggml-quants.c` (`quantize_row_*_K_impl`, `quantize_row_iq4_nl_impl`), byte for byte libgguf's; with an
imatrix also, but for Q2_K (another search, with a smaller error).
"""

import torch
import torch.nn.functional as F

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.codebooks import IQ4_NL
from qcourse.numerics.ggml_fits import (
    descended,
    fitted_codes,
    half,
    in_order,
    loudest,
    over,
    reciprocal,
    root,
    scale_and_minimum,
    signed_scale,
    unsigned_codes,
)
from qcourse.numerics.qtensor import QTensor
from qcourse.shapes import Float, Tensor

PIECE = 1 << 17  # weights searched at a time
MOST = 65504.0 * 127 * 32  # the largest fp16, times code, times code
TRIES = {2: (-0.5, 15, 0.1), 4: (-1.0, 20, 0.1), 5: (-0.5, 15, 0.1)}  # bits → first, steps, step of scale_and_minimum
WITH_IMATRIX = (-0.9, 36, 0.05)


def search(blocks: Float[Tensor, "R C G"], args: QuantizationArgs, importance: Tensor | None):
    """(codes (R, C, G), scale, minimum or None) as stored: see `numerics.ggml.quantize_blocks`.

    Raises ValueError unless K is a multiple of the format's block, and for an importance that is not K numbers ≥ 0.
    """
    R, C, G = blocks.shape
    if importance is not None and (importance.shape != (C * G,) or not (importance >= 0).all()):
        raise ValueError(f"importance: {C * G} numbers of at least 0 expected, one a column")
    per = 1 if args.grid == IQ4_NL else args.scale.granularity.cols  # blocks that share an fp16 number
    args.check(C * G)
    if (blocks.abs() > MOST).any():
        raise ValueError(
            f"a weight of {blocks.abs().max():.3g}: no block of GGUF reaches that, its scale does not fit float16"
        )
    one = codebook_block if args.grid == IQ4_NL else plain_block if args.zero is None else shifted_block
    x = blocks.reshape(-1, per, G)
    qw = None if importance is None else importance.float().view(1, -1, per, G).expand(R, -1, -1, -1).reshape(x.shape)
    step = max(64, PIECE // (per * G))
    found = [
        one(whole(x[a : a + step]), args, whole(None if qw is None else qw[a : a + step])) for a in range(0, len(x), step)
    ]
    codes, d, s, dmin, m = (None if p[0] is None else torch.cat(p)[: len(x)] for p in zip(*found, strict=True))
    codes = codes.view(R, C, G)
    if s is None:
        return codes, d.view(R, C), None
    scale = QTensor(s.view(R, C), d.view(R, -1), None, args.scale)
    return codes, scale, None if m is None else QTensor(m.view(R, C), dmin.view(R, -1), None, args.zero)


def whole(x: Float[Tensor, "n per G"] | None) -> Float[Tensor, "m per G"] | None:
    """In fp32, with blocks of zeros up to a multiple of 64: torch adds up what is left over by vectors in another order."""
    return None if x is None else F.pad(x.float(), (0, 0, 0, 0, 0, -len(x) % 64))


def lanes(x: Float[Tensor, "n per G"]) -> Float[Tensor, "G blocks"]:
    """A weight of every block in a row."""
    return x.reshape(-1, x.shape[-1]).T.contiguous()


def heard(x: Float[Tensor, "n per G"], qw: Tensor) -> Float[Tensor, "n per G"]:
    """importance · sqrt(σ² + x²), with σ² twice the mean square of the whole block."""
    squares = x.flatten(1).T.contiguous().square_()
    return qw * root((2 * in_order(squares) / x[0].numel()).view(-1, 1, 1) + x.square())


def codebook_block(x: Float[Tensor, "n 1 G"], args, qw):
    """IQ4_NL: d by trying places for the loudest weight, then the nearest value."""
    w, x, grid = lanes(x.square() if qw is None else heard(x, qw)), lanes(x), args.grid
    (top, alive), first = loudest(x), grid.values[0]

    def sums(inverse):
        q = grid.decode(grid.encode(x * inverse))
        wq = w * q
        return in_order(wq * x), in_order(wq * q)

    a, b = sums(1 / (-top / first))
    d = a / b
    best = d * a
    for tried in range(-7, 8):
        a, b = sums(over(tried + first, top))
        better = (b > 0) & (a * a > best * b)
        d, best = torch.where(better, a / b, d), torch.where(better, a / b * a, best)
    d = torch.where(alive, d, torch.zeros_like(d))
    return grid.encode(x * reciprocal(d)).T, half(d), None, None, None


def plain_block(x: Float[Tensor, "n per G"], args, qw):
    """Q3_K, Q6_K: the scales of 16 weights, then codes for them under one fp16 number, then the codes of the weights."""
    (n, per, _), grid, inner = x.shape, args.grid, args.scale.grid
    X, W = lanes(x), lanes(x.square() if qw is None else qw if grid.num_bits == 6 else heard(x, qw))
    if grid.num_bits == 3 and qw is None:
        top, alive = loudest(X)
        q = (X * over(grid.qmin, top)).round_().clamp_(grid.qmin, grid.qmax)
        scales = torch.where(alive, descended(X, W, q, grid.qmin, grid.qmax)[0], torch.zeros_like(top))
    else:
        scales, _ = signed_scale(X, W, -grid.qmin)
    scales = scales.view(n, per).T.contiguous()
    if grid.num_bits == 3 and qw is not None:
        d, s = signed_scale(scales, in_order(W).view(n, per).T.contiguous(), -inner.qmin)
    else:
        top, alive = loudest(scales)
        inverse = torch.where(alive, over(inner.qmin, top), torch.zeros_like(top))
        d, s = reciprocal(inverse), (scales * inverse).round_().clamp_(inner.qmin, inner.qmax)
    d, s = half(d), s.T
    if grid.num_bits == 3:  # a block of zeros is bits 0 throughout
        s = s.masked_fill((d == 0).unsqueeze(-1), inner.qmin)
    return rounded(x, d, s, grid), d, s.to(torch.int8), None, None


def rounded(x: Float[Tensor, "n per G"], d: Tensor, s: Tensor, grid, low: Tensor | float = 0.0) -> Tensor:
    """The codes of weights under d·s, as stored; the lowest code (bits 0) where that is 0: nothing reads it."""
    scale = (d.float().unsqueeze(-1) * s).unsqueeze(-1)
    codes = ((x + low) / torch.where(scale == 0, torch.ones_like(scale), scale)).round_().clamp_(grid.qmin, grid.qmax)
    return codes.masked_fill_(scale == 0, grid.qmin).to(grid.dtype)


def shifted_block(x: Float[Tensor, "n per G"], args, qw):
    """Q2_K, Q4_K, Q5_K: scales and minima, then codes for both under an fp16 number each, then the codes of the weights."""
    (n, per, G), grid, inner = x.shape, args.grid, args.scale.grid
    two = grid.num_bits == 2
    X = lanes(x)
    W = lanes(heard(x, qw)) if qw is not None else X.abs() if two else root(in_order(X.square()) / G) + X.abs()
    tries = TRIES[grid.num_bits] if qw is None else WITH_IMATRIX
    found = [t.view(n, per).T.contiguous() for t in scale_and_minimum(X, W, grid.qmax, *tries, two and qw is None)]
    if qw is None:
        (d, s), (dmin, m) = (unsigned_codes(v, inner.qmax) for v in found)
    else:
        total = in_order(W.clone()).view(n, per).T.contiguous()
        (d, s), (dmin, m) = (fitted_codes(v, total, inner.qmax) for v in found)
    s, m = s.T, m.T
    codes = rounded(x, d, s, grid, (dmin.float().unsqueeze(-1) * m).unsqueeze(-1))
    return codes, d, s.to(torch.uint8), dmin, m.to(torch.uint8)
