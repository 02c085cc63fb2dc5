"""encode_e4m3 with one thing changed: the programs of the known mistakes of 05.1."""

import torch

from qcourse.checks.lab05 import floats
from qcourse.checks.lab05.floats import by_steps


def variant(magnitude=lambda x: by_steps(x, 3, 7, 448.0), sign=floats.with_sign, nan=0x7F, before=lambda x: x):
    """encode_e4m3 with one thing changed: the magnitude's code, the sign, the code of NaN, or x itself."""

    def wrong(x):
        y = before(x)
        return torch.where(x.isnan(), torch.tensor(nan, dtype=torch.uint8), sign(magnitude(y) & 0xFF, y, 0x80))

    return wrong


def joined(code, x, bit):
    """The sign bit set by OR."""
    return (code | bit * torch.signbit(x)).to(torch.uint8)


def rounded(rounding, signed=False):
    """Steps rounded in another way; `signed`: sign and all."""

    def magnitude(x):
        turn = x.sign() if signed else torch.ones_like(x)
        return by_steps(x, 3, 7, 448.0, lambda t: rounding(t * turn) * turn)

    return variant(magnitude)


def biased(bias, lowest=None):
    """Another bias."""
    return variant(lambda x: by_steps(x, 3, bias, 448.0, lowest=lowest))


def biased_above(bias, sign=floats.with_sign):
    """Another bias, but not below 2⁻⁶."""
    return variant(lambda x: by_steps(x, 3, 7, 448.0) + 8 * (bias - 7) * (x.abs() >= 2**-6), sign)


def by_another_table(bias):
    """The nearest number of a table with another bias."""
    return variant(lambda x: floats.nearest(x.nan_to_num(0, posinf=1e30), floats.table(4, 3, bias)[:127]))


def fields(x, implicit=False, top=448.0):
    """E and M = 0 … 8, rounded each on its own; `implicit`: E = 0 is an ordinary exponent, −7."""
    magnitude = x.double().abs().clamp(max=top).nan_to_num(0)
    e = torch.frexp(magnitude).exponent - 1
    E = torch.where(magnitude == 0, 0, (e + 7).clamp(min=0))
    low = torch.full_like(e, -7) if implicit else e
    M = torch.round(floats.scaled(magnitude, 3 - e.maximum(low)) - 8).clamp(min=0)
    small = M if implicit else floats.scaled(magnitude, 9).round()
    return E.long(), torch.where(E == 0, small, M).long()


def uncarried(join, below=True):
    """A mantissa that rounded up to 8, put beside the exponent by `join`; `below`: below 2⁻⁶, too."""

    def magnitude(x):
        E, M = fields(x)
        return torch.where((E > 0) | below, join(E, M), M)

    return variant(magnitude)


def capped(x):
    """E ends at 15, M goes on."""
    E, M = fields(x, top=2.0**100)
    return 8 * E.clamp(max=15) + M


def no_ones(x):
    """Below 2⁻⁶ with M of 1.M: the exponent field is 0, the mantissa that of the number's own binade."""
    magnitude = x.double().abs().clamp(max=448).nan_to_num(0)
    e = torch.frexp(magnitude).exponent - 1
    M = torch.where(magnitude == 0, 0, floats.scaled(magnitude, 3 - e).round() - 8).long()
    return torch.where(magnitude < 2**-6, M, by_steps(x, 3, 7, 448.0))


def flushed(after=False):
    """No subnormals: below 2⁻⁶ is 0; `after`: what still is below it after rounding."""

    def magnitude(x):
        code = by_steps(x, 3, 7, 448.0)
        return code * ((code >= 8) if after else (x.abs() >= 2**-6))

    return magnitude


def unsigned_zeros(small):
    """No sign for −0; `small`: nor for what rounds to it."""
    return lambda code, x, bit: (code + bit * ((x < 0) & ((code > 0) | (not small)))).to(torch.uint8)


def infinite(x, code):
    """Above 240: `code`."""
    return torch.where(by_steps(x, 3, 7) > 0x77, code, by_steps(x, 3, 7))


def by_distances(x):
    """The first of the least distances in float32: far out, all of them are the same."""
    magnitude = x.abs().unsqueeze(-1)
    far = (magnitude - floats.E4M3.float()).abs().argmin(-1)
    return torch.where(x.abs() > 2.0**20, far, floats.nearest(x, floats.E4M3))
