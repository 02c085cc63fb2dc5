"""02.1 quantize_groups(W, group_size) → int8 codes (N, K) in -8 … 7, scale (N, K/G)."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.compare import difference
from qcourse.checks.lab02.blocks import MISTAKES, refuse
from qcourse.checks.task import Property, Task
from qcourse.numerics.granularity import per_group
from qcourse.numerics.scaling import block_absmax, positive


def expected(W, group_size):
    """The package's blocks and zero guard, rounded through float64."""
    refuse(W.shape[1], group_size)
    blocks = per_group(group_size).blocks(W)
    scale = positive(block_absmax(blocks) / 7.5)
    codes = torch.round(blocks.double() / scale.double()).clamp(-8, 7)
    return codes.view(W.shape).to(torch.int8), scale.squeeze(-1)


def same(args, got, other):
    """Scales to float32, groups of zeros aside; codes up to the rounding of ties."""
    W, G = args
    N, K = W.shape
    if other[1].dim() != 2:  # a mistake's answer
        return difference(got, other, rtol=nearest.SCALE_RTOL, names=("codes", "scale"))
    zero = (W == 0).view(N, K // G, G).all(-1) if K % G == 0 else torch.zeros(1, dtype=torch.bool)
    n, k = N // len(other[1]), K // other[1].shape[-1]
    wide = other[1].double().repeat_interleave(n, 0).repeat_interleave(k, -1)
    x = W.double() / wide if wide.shape == W.shape == other[0].shape else torch.full(other[0].shape, torch.nan)
    return nearest.scales(zero, got[1], other[1]) or nearest.codes(x, got[0], other[0], (-8, 7))


def weight(g, N, K):
    """Rows of different sizes, whose columns differ in size too."""
    return draw.rows(g, N, K) * (0.2 + 2 * torch.rand(1, K, generator=g))


def zero_group(g):
    """One group of zeros."""
    W = weight(g, 4, 12)
    k = 4 * draw.integer(g, 0, 2)
    W[draw.integer(g, 0, 3), k : k + 4] = 0
    return [(W, 4)]


def shapes(g):
    """One row; one group a row; large ones."""
    return [(weight(g, n, k), G) for n, k, G in ((1, 8, 4), (3, 4, 4), (4, 6, 2), (16, 48, 16), (32, 64, 32))]


def refused(g):
    """K is no multiple of G."""
    return [(weight(g, 4, 10), 4), (weight(g, 8, 20), 8)]


QUANTIZE_GROUPS = Task(
    id="02.1",
    function="quantize_groups",
    title="Neighbours share a scale",
    points=4,
    expected=expected,
    properties=(
        Property("small groups", lambda g: [(weight(g, 4, 8), 4), (weight(g, 8, 8), 4)], 2),
        Property("several shapes", shapes),
        Property("a group of zeros", zero_group),
        Property("a ragged last group is refused", refused),
    ),
    mistakes=MISTAKES,
    hint="Give the G weights of a group an axis of their own, and lab 01 does the rest along it. What shape has W "
    "then, what shape its scale, and when does K not fit?",
    returns=("codes", "scale"),
    same=same,
)
