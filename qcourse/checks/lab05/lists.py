"""05.6 quantize_nf4(W, codebook) → uint8 places (N, K), fp32 scales (N, K/64)."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.compare import difference
from qcourse.checks.lab05.list_mistakes import MISTAKES, scaled
from qcourse.checks.task import Property, Task
from qcourse.numerics.codebooks import NF4
from qcourse.shapes import Tensor

APART = 1e-5  # from the middle of two values: w/s ≤ 1 and |w/s − v| ≤ 2 are off by less than 3 · 2⁻²³ in float32


def expected(W, codebook):
    """Sorted, cut in the middles, in fp64; then back to the order of the list."""
    values, place = codebook.double().sort()
    x, scale = scaled(W)
    return place[torch.bucketize(x, (values[1:] + values[:-1]) / 2)].to(torch.uint8), scale


def same(args, got, other):
    """Scales to float32, blocks of zeros aside; then places: no case has a quotient within APART of a middle (`clear`)."""
    zero = (args[0] == 0).unflatten(1, (-1, 64)).all(-1)
    return nearest.scales(zero, got[1], other[1]) or difference(got[0], other[0], where="codes")


def clear(W: Tensor, codebook: Tensor) -> Tensor:
    """W with what is near a middle moved by a hundredth, until nothing is."""
    values = codebook.double().sort().values
    middle = (values[1:] + values[:-1]) / 2
    for _ in range(100):
        near = ((scaled(W)[0].unsqueeze(-1) - middle).abs() < APART).any(-1)
        if not near.any():
            break
        W = torch.where(near, W * 1.01, W)
    return W


def weight(g, N: int, K: int) -> Tensor:
    """Blocks of sizes 10⁻² … 1."""
    W = torch.randn(N, K // 64, 64, generator=g)
    W = W / W.abs().amax(-1, keepdim=True) * 10 ** (-2 * torch.rand(N, K // 64, 1, generator=g))
    sign = torch.where(torch.arange(N * (K // 64)).view(N, -1, 1) % 2 == 0, -1.0, 1.0)
    return ((W * W.gather(-1, W.abs().argmax(-1, keepdim=True)).sign()) * sign).flatten(1)


def nf4(g, N: int, K: int) -> tuple:
    """(W, NF4)."""
    book = torch.tensor(NF4.values)
    return clear(weight(g, N, K), book), book


def shuffled(g):
    """NF4 in another order; and sixteen values of a list that nobody knows: 0, ±1 and others at least 0.02 apart."""
    book = torch.tensor(NF4.values)[torch.randperm(16, generator=g)]
    other = torch.linspace(-1, 1, 17)[[*range(8), *range(9, 16)]] + 0.04 * (torch.rand(15, generator=g) - 0.5)
    other = torch.cat((other[1:], torch.zeros(1), torch.tensor([1.0 if draw.integer(g, 0, 1) else -1.0])))
    other = other[torch.randperm(16, generator=g)]
    return [(clear(weight(g, 2, 128), b), b) for b in (book, other)]


def zero_block(g):
    """One block of zeros among others."""
    W, book = nf4(g, 3, 128)
    W[draw.integer(g, 0, 2), 64:] = 0
    return [(W, book)]


QUANTIZE_NF4 = Task(
    id="05.6",
    function="quantize_nf4",
    title="NF4: a list",
    points=3,
    expected=expected,
    properties=(
        Property("one block", lambda g: [nf4(g, 1, 64), nf4(g, 1, 64)], 2),
        Property("several shapes", lambda g: [nf4(g, *s) for s in ((2, 128), (64, 64), (5, 192))]),
        Property("lists in any order", shuffled),
        Property("a block of zeros", zero_block),
    ),
    mistakes=MISTAKES,
    hint="Divide each block by its absmax, so that it lies within −1 … 1. Then compare every weight with all sixteen "
    "values at once: a new last axis, and the place of the smallest distance along it.",
    returns=("codes", "scale"),
    same=same,
)
