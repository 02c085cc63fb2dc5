"""01.5 quantize_asymmetric(x, num_bits) → uint8 codes (M, K), scale (M, 1), zero point (M, 1)."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.compare import difference
from qcourse.checks.lab01.zero_points import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.numerics.granularity import per_token
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.scaling import minmax


def expected(x, num_bits=8):
    """The package's min/max scale and zero point; the rounding in float64."""
    scale, zero = (t.view(-1, 1) for t in minmax(per_token.blocks(x.float()), IntGrid(num_bits, signed=False)))
    codes = (torch.round(x.double() / scale.double()) + zero.double()).clamp(0, 2**num_bits - 1)
    return codes.to(torch.uint8), scale, zero.to(torch.uint8)


def same(args, got, other):
    """Scales to float32. A zero point in the middle of two codes may be either, and the codes follow the one returned."""
    x, top = args[0].double(), 2 ** args[1] - 1
    zero_row = (x == 0).all(1, keepdim=True)
    scale = other[1].double()
    if scale.shape != zero_row.shape or got[0].shape != x.shape:  # a mistake's answer
        return difference(got, other, rtol=nearest.SCALE_RTOL, names=("codes", "scale", "zero_point"))
    z, their_z = got[2].double(), other[2].double()
    exact = -x.amin(1, keepdim=True).clamp(max=0) / scale
    tie = ((z - exact).abs() < 0.5 + nearest.TIE) & ((their_z - exact).abs() < 0.5 + nearest.TIE)
    z = torch.where(tie, z, their_z)
    found = nearest.scales(zero_row, got[1], other[1]) or difference(got[2], z.to(torch.uint8), where="zero_point")
    shifted = torch.where(z == their_z, other[0].double(), (other[0].double() + z - their_z).clamp(0, top))
    return found or nearest.codes(x / scale + z, got[0], shifted.to(torch.uint8), (0, top))


def clear(x, num_bits):
    """Move each row's lowest value until its zero point, with or without 2^B for 2^B - 1, is no near tie."""
    for row in x:
        for _ in range(50):
            ratio = (-row.min().clamp(max=0) / (row.max().clamp(min=0) - row.min().clamp(max=0) + 1e-30)).double()
            if all(abs((ratio * n) % 1 - 0.5) > 0.01 for n in (2**num_bits, 2**num_bits - 1)):
                break
            row[row.argmin()] *= 1.003
    return x


def one_sided(g, M, K):
    """Like the output of SiLU: a short negative side, a long positive one, each row of its own size."""
    x = torch.nn.functional.silu(draw.normal(g, M, K, size=2.0))
    x[:, 0], x[:, 1] = -0.278, x.abs().amax(1) + 0.5
    return x * 10 ** draw.uniform(g, -1, 1) * torch.linspace(1, 3, M).unsqueeze(1)


def positive(g):
    """Rows far above zero, and rows far below it."""
    x = draw.normal(g, 3, 9, size=0.3) + 5
    return [(clear(torch.cat((x, -x)), 8), 8), (clear(draw.normal(g, 2, 6, size=0.2) + 3, 4), 4)]


def symmetric(g):
    """Rows from -a to a: the zero point lies in the middle of two codes, and rounding twice may step out of the grid.

    a = s·(2^B - 1)/2 with s a multiple of 1/64, so that every step of the arithmetic is exact.
    """
    cases = []
    for num_bits, rows in ((4, 3), (8, 6)):
        step = torch.randint(1, 256, (rows, 1), generator=g) / 64
        x = step * (draw.uniform(g, 0.1, 0.4) * torch.randint(-(2**num_bits), 2**num_bits, (rows, 6), generator=g))
        x[:, 2:3], x[:, 5:6] = step * (2**num_bits - 1) / 2, -step * (2**num_bits - 1) / 2
        cases.append((x, num_bits))
    return cases


def zero_row(g):
    """A row of zeros."""
    x = clear(one_sided(g, 3, 5), 8)
    x[draw.integer(g, 0, 2)] = 0
    return [(x, 8)]


QUANTIZE_ASYMMETRIC = Task(
    id="01.5",
    function="quantize_asymmetric",
    title="A zero point",
    points=4,
    expected=expected,
    properties=(
        Property(
            "one-sided data, 8 bits", lambda g: [(clear(one_sided(g, n, k), 8), 8) for n, k in ((2, 5), (1, 7), (7, 40))], 2
        ),
        Property(
            "4 and 2 bits", lambda g: [(clear(one_sided(g, n, k), b), b) for b in (4, 2) for n, k in ((2, 6), (5, 33))]
        ),
        Property("rows as far below zero as above", symmetric),
        Property("rows that do not reach zero", positive),
        Property("a row of zeros", zero_row),
    ),
    mistakes=MISTAKES,
    hint="Three numbers a row: where it starts (0 at the latest), where it ends (0 at the earliest), and into how many "
    "steps that is divided. Then z is the code at which real zero comes to lie. Every x gets its steps from zero, plus "
    "z.",
    returns=("codes", "scale", "zero_point"),
    same=same,
)
