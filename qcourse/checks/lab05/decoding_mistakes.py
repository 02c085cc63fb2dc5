"""The known mistakes of 05.2."""

import torch

from qcourse.checks.task import Mistake


def fixed(f, E, M):
    """E = 0: no 1 before the mantissa, the exponent of E = 1."""
    return torch.where(E == 0, f * 2.0**-6, (1 + f) * 2.0 ** (E - 7).double())


def variant(value=fixed, split=(3, 15), fraction=lambda M: M / 8, top=None, sign=None, magnitude=lambda c: c & 0x7F):
    """decode_e4m3 with one thing changed; `top(values, E, M)` has the last word on E = 15."""

    def wrong(codes):
        c = codes.long()
        E, M = magnitude(c) >> split[0] & split[1], magnitude(c) & ((1 << split[0]) - 1)
        values = value(fraction(M.double()), E, M)
        values = values.where((E != 15) | (M != 7), torch.nan) if top is None else top(values, E, M)
        return (torch.where(c >= 128, -values, values) if sign is None else sign * values).float()

    return wrong


def biased(bias, low=None):
    """Another bias; `low`: the exponent of the subnormals, where it does not follow."""
    first = 1 - bias if low is None else low
    return variant(lambda f, E, M: torch.where(E == 0, f * 2.0**first, (1 + f) * 2.0 ** (E - bias).double()))


def small(value):
    """Other subnormals: `value(f)`."""
    return variant(lambda f, E, M: torch.where(E == 0, value(f), fixed(f, E, M)))


def wrapped(spare):
    """E − 7 in a byte: 249 and more below 7, beyond float32; `spare`: the subnormals are not touched by it."""

    def value(f, E, M):
        if spare:
            return torch.where((E > 0) & (E < 7), torch.inf, fixed(f, E, M))
        large = torch.where((E == 0) & (M == 0), torch.nan, torch.inf)
        return torch.where(E < 7, large, fixed(f, E, M))

    return variant(value)


def five_bits(bias):
    """The fields of E5M2: five bits of exponent, two of mantissa."""

    def value(f, E, M):
        return torch.where(E == 0, f * 2.0 ** (1 - bias), (1 + f) * 2.0 ** (E - bias).double())

    return variant(value, (2, 31), lambda M: M / 4, lambda values, E, M: values)


def ieee(values, E, M):
    """E = 15 means infinity and NaN."""
    return torch.where(E == 15, torch.where(M == 0, torch.inf, torch.nan).double(), values)


def fill(code):
    """E = 15 means `code`, whatever M is."""
    return lambda values, E, M: torch.where(E == 15, code, values)


MISTAKES = (
    Mistake(
        "another bias",
        biased(8),
        "All your values are off by the same power of two. With four bits of exponent the bias is 7 = 2³ − 1. Which "
        "E does 1.0 have, if as many exponents are to lie above it as below?",
        "The format: 2^(E − 7), so 0x38 is 1.0.",
        also=(biased(15), biased(6), biased(8, -6), biased(15, -6), biased(6, -6)),
    ),
    Mistake(
        "subnormals with an implicit 1",
        small(lambda f: (1 + f) * 2.0**-7),
        "Code 0 is not zero in your table. E = 0 is the exception of every float: it has no 1 before its mantissa. "
        "What would there be between 0 and the smallest number otherwise?",
        "E = 0: 2⁻⁶ · M/8.",
        also=(small(lambda f: (1 + f) * 2.0**-6),),
    ),
    Mistake(
        "subnormals half as large",
        small(lambda f: f * 2.0**-7),
        "You gave E = 0 the exponent −7, as if it went on like that. Then code 7 is 0.0068, and code 8 is 0.0156: "
        "what a gap. Which exponent makes the steps below 2⁻⁶ as long as those above it?",
        "E = 0 has the exponent of E = 1: 2⁻⁶ · M/8.",
    ),
    Mistake(
        "subnormals are zero",
        small(lambda f: 0 * f),
        "All eight codes with E = 0 came out as zero. Seven of them are numbers, down to 2⁻⁹. What does M mean there?",
        "E = 0: 2⁻⁶ · M/8.",
    ),
    Mistake(
        "0x7F taken for a number",
        variant(top=lambda values, E, M: values),
        "Your last code is 480. It would be, if the format had not kept that one code, with either sign, for "
        "something else. What comes back if an encoder met a NaN?",
        "E4M3: S.1111.111 is NaN, the largest number is 448.",
    ),
    Mistake(
        "the top exponent taken for infinity",
        variant(top=ieee),
        "You read E = 15 as IEEE does: infinity or NaN. E4M3 has numbers there, 256 … 448, and no infinity at all. "
        "Which single mantissa is not a number?",
        "E4M3: E = 15 holds numbers; only S.1111.111 is NaN.",
        also=(variant(top=fill(torch.inf)), variant(top=fill(torch.nan))),
    ),
    Mistake(
        "the sign ignored",
        variant(sign=1),
        "Nothing came out negative. Which bit of 0xB8 tells it from 0x38?",
        "The format: S · EEEE · MMM.",
    ),
    Mistake(
        "the sign read as two's complement",
        variant(magnitude=lambda c: torch.where(c >= 128, 256 - c, c) & 0x7F),
        "You took the byte for a signed integer, and its magnitude for the code. A float is sign and magnitude: bit "
        "7 is the sign, the seven others stay as they are. What is 0xB8 without its bit 7?",
        "The format: S · EEEE · MMM.",
        also=(variant(magnitude=lambda c: torch.where(c >= 128, 256 - c, c)),),
    ),
    Mistake(
        "the sign bit read as part of the exponent",
        variant(
            lambda f, E, M: torch.where(E == 0, f * 2.0**-6, (1 + f) * 2.0 ** (E - 7).double()),
            (3, 31),
            magnitude=lambda c: c,
        ),
        "Your negative numbers have an exponent 16 too large: a shift by three leaves five bits of a byte, and the "
        "fifth is the sign. What is left to do after the shift?",
        "The format: S · EEEE · MMM, four bits of exponent.",
        also=(
            variant(fixed, (3, 31), magnitude=lambda c: c, top=lambda values, E, M: values),
            variant(fixed, (3, 31), magnitude=lambda c: c, sign=1),
            variant(fixed, (3, 31), magnitude=lambda c: c, top=lambda values, E, M: values, sign=1),
        ),
    ),
    Mistake(
        "the fields of E5M2",
        five_bits(15),
        "You cut the byte into five bits of exponent and two of mantissa. That is E5M2, the sister format with more "
        "range and less precision. How many values lie between 1 and 2 in E4M3?",
        "The name says it: 4 bits of exponent, 3 of mantissa.",
        also=(five_bits(7),),
    ),
    Mistake(
        "M does not count eighths",
        variant(fraction=lambda M: M / 16),
        "Three bits of mantissa are three binary places behind the point: 1.001, 1.010 … What is the value of the "
        "last place, and how many of them make the next power of two?",
        "The format: 1 + M/8.",
        also=(variant(fraction=lambda M: M / 7), variant(fraction=lambda M: M), variant(fraction=lambda M: M / 10)),
    ),
    Mistake(
        "the bias taken off in uint8",
        wrapped(True),
        "A byte knows no negative numbers: 6 − 7 is 255 there, and 2 to that power is beyond float32. What must E "
        "become before you subtract?",
        "Codes are bytes; exponents are signed.",
        also=(wrapped(False),),
    ),
)
