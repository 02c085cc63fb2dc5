"""05.4 quantize_mxfp4(W) → uint8 E2M1 codes (N, K), uint8 E8M0 scales (N, K/32)."""

import torch

from qcourse.checks.lab05 import e2m1, exponents
from qcourse.checks.lab05.exponent_rules import CUT, FORGOTTEN, ROUNDED_UP, half_up, logarithm, rule
from qcourse.checks.lab05.floats import E2M1, away, middles, scaled, toward
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def wide(t: Tensor) -> Tensor:
    """One number a block → one a weight."""
    return t.repeat_interleave(32, 1)


def by_power(W: Tensor, scale: Tensor) -> Tensor:
    """W / 2^(code − 127), exactly."""
    return scaled(W, 127 - wide(scale).int())


def quantizer(codes=e2m1.codes, scale=exponents.expected, steps=by_power):
    """quantize_mxfp4 with one thing changed: the codes of x, the scale, or how both meet in x = steps(W, scale)."""

    def quantize_mxfp4(W):
        s = scale(W)
        return codes(steps(W, s)), s

    return quantize_mxfp4


def same(args, got, other):
    """Scales, those of zeros aside; then codes, 0 and 8 being one. 2^n divides exactly: nothing else is free."""
    return exponents.scales(args[0], got[1], other[1]) or e2m1.differ(got[0], other[0])


def high(g):
    """The loudest weight at 7 … 8 steps, one that was at 6 … 7 beside it."""
    W = exponents.loudest(g, 2, 2, torch.exp2(torch.arange(-6.0, 3.0)) * 1.76).unflatten(1, (-1, 32))
    top = W.abs().amax(-1, keepdim=True)
    W = torch.where(W.abs() == top, W.sign() * top * (1 + 0.12 * torch.rand(W.shape, generator=g)), W)
    return [(W.flatten(1),)]


def ties(g):
    """Middles of two numbers times a power of two, a 4 or a 6 in each block."""
    x = middles(E2M1)[torch.randint(7, (2, 2, 32), generator=g)].float()
    x[..., 5] = torch.where(torch.rand(2, 2, generator=g) < 0.5, 4.0, 6.0)
    x = x * torch.where(torch.rand(x.shape, generator=g) < 0.5, -1.0, 1.0)
    return [((x * torch.exp2(torch.randint(-9, 3, (2, 2, 1), generator=g).float())).flatten(1),)]


def over_six(W: Tensor, scale: Tensor) -> Tensor:
    """W in units of its block's absmax / 6."""
    absmax = wide(W.double().unflatten(1, (-1, 32)).abs().amax(-1))
    return 6 * W / absmax.where(absmax > 0, 1)


def tie(rounding, down=False):
    """Ties broken by another rule."""
    return quantizer(e2m1.rounded(rounding, down))


MISTAKES = (
    Mistake(
        "scales of another rule",
        quantizer(scale=FORGOTTEN[0]),
        "Your codes fit your scales, but the scales are not those of task 05.3: ⌊log2 max|w|⌋ − 2. What does `check` say "
        "to yours there?",
        "OCP MX v1.0: ⌊log2 max|w|⌋ − 2, plus 127.",
        also=tuple(
            quantizer(scale=s)
            for s in (
                *FORGOTTEN[1:],
                *ROUNDED_UP,
                *CUT,
                rule(lambda a: logarithm(a).round()),
                rule(half_up),
                rule(bias=128),
                rule(lambda a: logarithm(a / 6).floor(), emax=0),
                rule(lambda a: logarithm(a / 6).round(), emax=0),
                rule(lambda a: torch.log2(a).floor().double()),
            )
        ),
    ),
    Mistake(
        "ties not to the even code",
        tie(away),
        "Exactly between two numbers your function always goes the same way. Here that happens often: a weight in "
        "bfloat16 divided by a power of two has few digits. 2.5 becomes 2 and 3.5 becomes 4: which code of the two is "
        "even?",
        "Ties to even, as hardware has them.",
        also=(tie(toward), tie(lambda t: (t + 0.5).floor(), True), tie(lambda t: (t - 0.5).ceil(), True)),
    ),
    Mistake(
        "codes made for a scale that is not stored",
        quantizer(steps=over_six),
        "You divided each block by absmax / 6, so that its loudest weight is 6; what you stored is a power of two. Which "
        "scale will the reader of your file multiply by?",
        "Codes fit the scale that is stored.",
    ),
    *e2m1.mistakes(lambda codes: quantizer(codes)),
    Mistake(
        "multiplied by the scale",
        quantizer(steps=lambda W, s: scaled(W, wide(s).int() - 127)),
        "You made small weights smaller still. A scale is the weight of one step, so how many steps is w?",
        "`scale` multiplies on the way back, so it divides here.",
    ),
    Mistake(
        "the scale's code taken for the scale",
        quantizer(steps=lambda W, s: W.double() / wide(s).double()),
        "You divided by the byte, a number around 120. What the byte stands for is a power of two, and its exponent has "
        "a bias.",
        "E8M0: the scale is 2^(code − 127).",
        also=(quantizer(steps=lambda W, s: scaled(W, -wide(s).int())),),
    ),
    Mistake(
        "scales laid beside the wrong weights",
        quantizer(steps=lambda W, s: scaled(W, 127 - s.int().repeat(1, 32))),
        "All scales of a row came first, and then all of them again. But weights 0 … 31 share the first one. What "
        "repeats each element, and what the whole row?",
        "Granularity: weight k has the scale of block ⌊k/32⌋.",
    ),
)

QUANTIZE_MXFP4 = Task(
    id="05.4",
    function="quantize_mxfp4",
    title="MXFP4",
    points=4,
    expected=quantizer(),
    properties=(
        Property("one block a row, or two", lambda g: [(exponents.weight(g, 2, 32),), (exponents.weight(g, 1, 64),)], 2),
        Property("several shapes", lambda g: [(exponents.weight(g, *s),) for s in ((32, 32), (3, 96), (16, 160))], 2),
        Property("the loudest weight beyond 6 steps", high),
        Property("exactly between two numbers", ties),
        Property("a block of zeros", exponents.zero_block),
    ),
    mistakes=MISTAKES,
    hint="Give every weight its block's scale (each repeated 32 times), and divide. What is left is 05.1 with fewer "
    "bits: how many of mantissa, which bias, which largest number?",
    returns=("codes", "scale"),
    bits=4,
    same=same,
)
