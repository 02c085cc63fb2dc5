"""How far a CPU kernel may be from exact arithmetic: one law for every test that multiplies."""

from dataclasses import replace

import torch

from qcourse.numerics.quantize import dequantize, values_of

UNIT = {torch.float32: 0.0, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # one rounding, relative: at most half a step


def bound(x, q):
    """What the law allows, element by element.

    x → int16   |Δx| ≤ max|x of a block|/65534 ≤ max|x of its row|/65534, times Σ|ŵ|
    fp32        at most 2K + 8 roundings by 2^-24 of Σ|x|·s·(u + z): a zero point may be subtracted after the sum
    16 bits     Ŵ is rounded to x's dtype by `blocked` (as by `reference`), and y is: one rounding each
    """
    W, dtype = dequantize(q).double(), x.dtype
    rounded = x.double().abs().amax(-1, keepdim=True) / 65534 * W.abs().sum(-1)
    least = 2.0**-25 if dtype == torch.float16 else 1e-30
    return rounded + sums(x, q) + (2 + UNIT[dtype]) * UNIT[dtype] * (x.double().abs() @ W.abs().T) + least


def sums(x, q):
    """fp32's part of the law."""
    scale, zero = values_of(q.scale, q.args.scale).double().abs(), torch.tensor(2.0 ** (q.args.num_bits - 1)).double()
    if q.zero_point is not None:
        zero = values_of(q.zero_point, q.args.zero).double().abs().unsqueeze(-1)
        zero = zero if q.args.zero_in == "steps" else zero / scale.unsqueeze(-1).clamp(min=1e-30)
    ones = q.args.granularity.blocks(torch.ones(q.shape)).double()
    stored = dequantize(q).double().abs() + q.args.granularity.unblocks(2 * zero * scale.unsqueeze(-1) * ones, q.shape)
    return (2 * x.shape[-1] + 8) * 2.0**-24 * (x.double().abs() @ stored.T)


def near(y, x, q, slack=1.0):
    exact = x.double() @ dequantize(q).double().T
    return ((y.double() - exact).abs() <= slack * bound(x, q)).all()


def with_tensors(p, **changed):
    """A packed weight with some of its tensors changed: what a mistake would make of it."""
    return replace(p, tensors=p.tensors | changed)
