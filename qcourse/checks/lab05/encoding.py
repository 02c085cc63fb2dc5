"""05.1 encode_e4m3(x) → uint8: the bits of the nearest E4M3 number."""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.draw import normal
from qcourse.checks.lab05 import floats
from qcourse.checks.lab05.encoding_mistakes import MISTAKES
from qcourse.checks.task import Property, Task


def expected(x):
    """By the table of all numbers."""
    return floats.with_sign(floats.nearest(x, floats.E4M3).where(~x.isnan(), 0x7F), x, 0x80)


def same(args, got, other):
    """The same bits; of a NaN, the sign does not matter."""
    got, other = (code.where(code & 0x7F != 0x7F, 0x7F) for code in (got, other))
    return difference(got, other, bits=8, where="codes")


def sign(g, *shape):
    """±1."""
    return torch.where(torch.rand(*shape, generator=g) < 0.5, -1.0, 1.0)


def between(g, low, high, *shape):
    """Both signs; log2 of the magnitude evenly between `low` and `high`."""
    return sign(g, *shape) * torch.exp2(low + (high - low) * torch.rand(*shape, generator=g))


def ordinary(g):
    """All exponents; some numbers above 248, and some that round up to the next power of two."""
    x = between(g, -6, 8.8, 4, 6)
    x[0, :2] = torch.tensor([260.0, -400.0]) + 30 * torch.rand(2, generator=g)
    up = torch.exp2(2.0 * torch.randint(-2, 4, (2,), generator=g) + torch.tensor([0.0, 1.0]))  # one even, one odd
    x[1, :2] = torch.tensor([-1.0, 1.0]) * up * (1.95 + 0.04 * torch.rand(2, generator=g))
    return [(x,), (between(g, -6, 8.8, 2, 3, 4),)]


def some(g, values, n):
    """n of the values, both signs, in float32."""
    return (values[torch.randperm(len(values), generator=g)[:n]] * sign(g, n)).float()


def ties(g):
    """Middles of two neighbours: four of the subnormal ones, twelve others."""
    middle = floats.middles(floats.E4M3)
    return [(torch.cat((some(g, middle[:8], 4), some(g, middle[8:], 12))),)]


def beside(g):
    """Middles times 1 ± 2⁻¹⁸: float32 sees on which side they lie, half precision does not."""
    return [(some(g, floats.middles(floats.E4M3)[8:], 16) * (1 + 2.0**-18 * sign(g, 16)),)]


def beyond(g):
    """From 449 to 10³⁰, those around 464 and 480 among them."""
    x = torch.tensor([449.0, 462.0, 466.0, 478.0, 482.0, 500.0, 512.0, 700.0, 1.1e3, 3e4, 2e6, 1e30])
    return [(x[torch.randperm(len(x), generator=g)] * sign(g, len(x)),)]


def zeros(g):
    """±0, and numbers too small for any code but 0."""
    x = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 9e-4, -9e-4])
    return [(torch.cat((x, normal(g, 2)))[torch.randperm(8, generator=g)],)]


def special(g):
    """±inf and NaN among others."""
    x = torch.cat((torch.tensor([torch.inf, -torch.inf, torch.nan]), between(g, -6, 8, 3)))
    return [(x[torch.randperm(6, generator=g)],)]


def numbers(g):
    """Every number of the format, ±."""
    x = torch.cat((floats.E4M3, -floats.E4M3)).float()
    return [(x[torch.randperm(len(x), generator=g)],)]


ENCODE_E4M3 = Task(
    id="05.1",
    function="encode_e4m3",
    title="FP8, written",
    points=5,
    expected=expected,
    properties=(
        Property("numbers near 1", lambda g: [(between(g, -1, 1, 12),), (between(g, -1, 1, 12),)], 2),
        Property("numbers from 2⁻⁶ to 448, any shape", ordinary, 2),
        Property("below 2⁻⁶: subnormal", lambda g: [(between(g, -9.9, -6, 16),)]),
        Property("exactly between two numbers", ties),
        Property("a hair beside the middle", beside),
        Property("beyond 448", beyond),
        Property("zeros, and what rounds to them", zeros),
        Property("infinity and NaN", special),
        Property("every number there is", numbers),
    ),
    mistakes=MISTAKES,
    hint="Count steps. Between two powers of two all steps are equally long: how long, for a number with exponent e? "
    "Then the code is the number of steps from zero, all binades counted, and rounding it is rounding the number.",
    returns=("codes",),
    bits=8,
    same=same,
)
