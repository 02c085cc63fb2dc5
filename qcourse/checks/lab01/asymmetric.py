"""01.5 quantize_asymmetric(x, num_bits) → uint8 codes (M, K), scale (M, 1), zero point (M, 1)."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.compare import difference
from qcourse.checks.task import Mistake, Property, Task
from qcourse.numerics.granularity import per_token
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.scaling import minmax


def expected(x, num_bits=8):
    """The package's min/max scale and zero point; the rounding in float64."""
    scale, zero = (t.view(-1, 1) for t in minmax(per_token.blocks(x.float()), IntGrid(num_bits, symmetric=False)))
    codes = (torch.round(x.double() / scale.double()) + zero.double()).clamp(0, 2**num_bits - 1)
    return codes.to(torch.uint8), scale, zero.to(torch.uint8)


def same(args, got, other):
    """Zero points exactly (the cases keep them clear of ties), scales to float32, codes up to the rounding of ties."""
    x = args[0].double()
    zero_row = (x == 0).all(1, keepdim=True)
    found = nearest.scales(zero_row, got[1], other[1]) or difference(got[2], other[2], where="zero_point")
    return found or nearest.codes(x / other[1].double() + other[2].double(), got[0], other[0])


def variant(stretch=True, steps=-1, sign=-1, guard=True, order="round, add, clamp", symmetric=False):
    """quantize_asymmetric with one thing changed. `steps` is added to 2^B to give the number of steps."""

    def wrong(x, num_bits=8):
        x, top = x.float(), 2**num_bits - 1
        low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
        if stretch:
            low, high = low.clamp(max=0), high.clamp(min=0)
        if symmetric:
            high = torch.maximum(high, -low)
            low = -high
        scale = (high - low) / (2**num_bits + steps)
        scale = torch.where(scale == 0, torch.ones_like(scale), scale) if guard else scale
        zero = torch.round(sign * low / scale)
        codes = {
            "round, add, clamp": lambda: (torch.round(x / scale) + zero).clamp(0, top),
            "round, clamp, add": lambda: torch.round(x / scale).clamp(0, top) + zero,
            "add unrounded": lambda: torch.round(x / scale - low / scale).clamp(0, top),
            "truncate": lambda: (torch.trunc(x / scale) + zero).clamp(0, top),
            "no zero point": lambda: torch.round(x / scale).clamp(0, top),
        }[order]()
        return codes.to(torch.uint8), scale, zero.to(torch.uint8)

    return wrong


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
    x = draw.normal(g, 4, 9, size=0.3) + 5
    return [(clear(torch.cat((x, -x)), 8), 8), (clear(draw.normal(g, 2, 6, size=0.2) + 3, 4), 4)]


def zero_row(g):
    """A row of zeros."""
    x = clear(one_sided(g, 3, 5), 8)
    x[draw.integer(g, 0, 2)] = 0
    return [(x, 8)]


MISTAKES = (
    Mistake(
        "the range does not contain 0",
        variant(stretch=False),
        "On a row between 5 and 6 your range starts at 5, and the zero point falls outside 0 … 2^B-1. Which code would "
        "mean exactly 0 there, and what does padding with zeros, or a ReLU, then turn into?",
        "Real 0 is the code z, exactly: the range is stretched until it contains 0.",
    ),
    Mistake(
        "2^B steps instead of 2^B - 1",
        variant(steps=0),
        "16 codes are posts in a fence. How many gaps lie between the first post and the last?",
        "The ends of the range are the first code and the last: s = (max - min) / (2^B - 1).",
    ),
    Mistake(
        "the sign of the zero point",
        variant(sign=1),
        "Your z is round(min / s), which is negative or zero, and a code is neither. If min must become code 0, must z "
        "be added to min/s or taken from it, to arrive there?",
        "q = round(x/s) + z, and x = min gives q = 0.",
        also=(variant(sign=1, order="add unrounded"),),
    ),
    Mistake(
        "clamped before the zero point is added",
        variant(order="round, clamp, add"),
        "You clamped x/s to 0 … 2^B-1 and shifted afterwards. What happened to all negative numbers in the first of "
        "these two steps?",
        "Saturation concerns the code that is stored: clamp last.",
        also=(variant(order="round, clamp, add", guard=False),),
    ),
    Mistake(
        "one rounding for both",
        variant(order="add unrounded"),
        "You rounded (x - min)/s as a whole, but what is stored as zero point is rounded by itself. Take x = 0: is its "
        "code always equal to your z?",
        "Real 0 is the code z, exactly: round(x/s) and z are two whole numbers.",
    ),
    Mistake(
        "a symmetric range after all",
        variant(symmetric=True),
        "Your range runs from -absmax to absmax, so half of the codes wait for numbers that never come. SiLU's outputs "
        "start at -0.28: where could the range start?",
        "A zero point exists to shift the range to where the data is: s = (max - min) / (2^B - 1).",
    ),
    Mistake(
        "no guard for a row of zeros",
        variant(guard=False),
        "max - min is 0 for a row of zeros, and 0/0 is NaN. Which scale would do as well as any other, if every x is 0?",
        "Every stored scale is finite and greater than 0.",
    ),
    Mistake(
        "truncated instead of rounded",
        variant(order="truncate"),
        "A conversion to integers cuts off the fraction. Between which two codes does 6.9 steps lie, and which is nearer?",
        "Invariant 2: |x - x̂| ≤ s/2.",
    ),
)

QUANTIZE_ASYMMETRIC = Task(
    id="01.5",
    function="quantize_asymmetric",
    title="A zero point",
    points=4,
    expected=expected,
    properties=(
        Property(
            "one-sided data, 8 bits", lambda g: [(clear(one_sided(g, 2, 5), 8), 8), (clear(one_sided(g, 7, 40), 8), 8)], 2
        ),
        Property("4 and 2 bits", lambda g: [(clear(one_sided(g, 5, 33), b), b) for b in (4, 2)]),
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
