"""05.5 quantize_nvfp4(W) → uint8 E2M1 codes (N, K), uint8 E4M3 scales (N, K/16), one fp32 global scale."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab05 import e2m1, floats
from qcourse.checks.lab05.nv_mistakes import MISTAKES, quantizer
from qcourse.checks.nearest import SCALE_RTOL
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

# Relative, from every tie: float32 finds a ratio or a quotient in fewer than ten operations, each off by 2⁻²⁴ at most.
APART = 1e-4


def same(args, got, other):
    """The global scale to float32; bits of scales, those of zeros aside; then codes, of which 0 and 8 are one.

    No case has a ratio or a quotient within APART of a tie (`clear`): nothing else is free. But the loudest weight of all is
    6 steps exactly, or a hair off in float32: who cuts off has 6 or 4 there by chance, and either is that mistake's.
    """
    W, (codes, scale, _) = args[0], got
    zero = (W == 0).unflatten(1, (-1, 16)).all(-1)
    if zero.shape == scale.shape == other[1].shape:
        scale = torch.where(zero & (scale < 127), other[1], scale)
    hair = (W.abs() == W.abs().max()) & ((codes.int() - other[0].int()).abs() <= 1)
    codes = torch.where(hair, other[0], codes)
    return (
        difference(got[2], other[2], rtol=SCALE_RTOL, where="global_scale")
        or difference(scale, other[1], bits=8, where="scale")
        or e2m1.differ(codes, other[0])
    )


def near(x: Tensor, values: Tensor) -> Tensor:
    """Whether |x| is within APART of the middle of two neighbours."""
    middle = floats.middles(values)
    return ((x.abs().unsqueeze(-1) - middle).abs() < APART * middle).any(-1)


def clear(W: Tensor) -> Tensor:
    """W with what is near a tie moved by a hundredth, until nothing is."""
    for _ in range(100):
        blocks = W.double().unflatten(1, (-1, 16))
        absmax = blocks.abs().amax(-1, keepdim=True)
        ratio = absmax / absmax.max() * 448
        step = floats.E4M3[floats.nearest(ratio, floats.E4M3)] * absmax.max() / 2688
        moved = near(ratio, floats.E4M3) | near(blocks / step.where(step > 0, 1), floats.E2M1) & (step > 0)
        if not moved.any():
            break
        W = torch.where(moved, blocks * 1.01, blocks).flatten(1).float()
    return W


def weight(g, N: int, K: int, quietest: float = -1.5, size: float = 0.5) -> Tensor:
    """Blocks of sizes 10^quietest … 1, times `size` or a little less; the loudest of either sign."""
    W = torch.randn(N, K // 16, 16, generator=g)
    W = W / W.abs().amax(-1, keepdim=True) * 10 ** (quietest * torch.rand(N, K // 16, 1, generator=g))
    return clear(W.flatten(1) * size * draw.uniform(g, 0.2, 1))


def quiet(g):
    """A block so quiet that its scale is stored as 0, one that just is not (1.4 · 2⁻⁹ becomes 2⁻⁹), and one of zeros."""
    W = weight(g, 3, 64)
    W[1, 40] *= 1.3 * W.abs().max() / W[1, 40].abs()  # the loudest, which stays
    W[draw.integer(g, 0, 1), 16:32] *= 1e-7
    W[2, :16] *= 1.4 * 2**-9 / 448 * W[1, 40].abs() / W[2, :16].abs().max()
    W[2, 48:] = 0
    return [(clear(W),)]


QUANTIZE_NVFP4 = Task(
    id="05.5",
    function="quantize_nvfp4",
    title="NVFP4",
    points=5,
    expected=quantizer(),
    properties=(
        Property("a few blocks", lambda g: [(weight(g, 1, 64),), (weight(g, 2, 32, size=5e3),)], 2),
        Property("several shapes", lambda g: [(weight(g, *s),) for s in ((16, 64), (5, 96), (32, 32))], 2),
        Property("blocks of very different sizes", lambda g: [(weight(g, 4, 64, -5.2),), (weight(g, 8, 64, -5.2),)]),
        Property("blocks whose scale is stored as 0, or nearly", quiet),
    ),
    mistakes=MISTAKES,
    hint="Three numbers in this order: s₂ from the loudest weight of all, then each block's scale in units of s₂, "
    "written in E4M3; then *read* that scale back, and only then divide. What is left is E2M1, as in 05.4.",
    returns=("codes", "scale", "global_scale"),
    bits=8,
    same=same,
)
