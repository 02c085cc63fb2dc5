"""The known mistakes of 05.1."""

import torch

from qcourse.checks.lab05 import floats
from qcourse.checks.lab05.encoding_variants import (
    biased,
    biased_above,
    by_another_table,
    by_distances,
    capped,
    fields,
    flushed,
    infinite,
    joined,
    no_ones,
    rounded,
    uncarried,
    unsigned_zeros,
    variant,
)
from qcourse.checks.lab05.floats import by_steps
from qcourse.checks.task import Mistake

MISTAKES = (
    Mistake(
        "another bias",
        biased(8),
        "All your exponents are off by the same number. The bias of E4M3 is 7 = 2³ − 1, neither 8 nor the 15 of formats "
        "with five bits of exponent. What are the bits of 1.0?",
        "The format: 2^(E − 7), so 1.0 is 0x38.",
        also=(
            biased(15),
            biased(6),
            *(biased(bias, 2**-6) for bias in (8, 15, 6)),
            *(biased_above(bias, sign) for bias in (8, 15, 6) for sign in (floats.with_sign, joined)),
            *map(by_another_table, (8, 15, 6)),
        ),
    ),
    Mistake(
        "the exponent of frexp taken as it is",
        variant(lambda x: floats.unshifted(x, 3, 7, 448.0, -6)),
        "`frexp` gives a mantissa of ½ … 1, so that its exponent is one more than that of 1.M. Your steps are twice as "
        "long as they should be, and your codes too large. What does it say about 1.0?",
        "The format: 2^(E − 7) · 1.M; 1.0 is 0x38.",
        also=(variant(lambda x: floats.unshifted(x, 3, 7, 448.0, -5)),),
    ),
    Mistake(
        "saturation forgotten",
        variant(lambda x: by_steps(x, 3, 7)),
        "512 needs an exponent field of 16, and four bits end at 15: it runs over into the sign bit, or wraps to "
        "something small. A weight that is too loud becomes a quiet one. At which value do you have to stop it, and "
        "before or after rounding?",
        "Encoding saturates: beyond 448 it is 448.",
        also=(
            variant(lambda x: by_steps(x, 3, 7), joined),
            variant(lambda x: by_steps(x, 3, 7) & 127),
            variant(capped, joined),
            variant(capped),
        ),
    ),
    Mistake(
        "distances too large to compare",
        variant(by_distances),
        "You took the value at the least distance. But in float32 10³⁰ − 448 and 10³⁰ − 0 are the same number, so the "
        "first of the list won, and a loud weight became 0. What must happen to x before the distances are taken?",
        "Encoding saturates: beyond 448 it is 448.",
        also=(variant(lambda x: torch.where(x.abs() > 2.0**20, 0, floats.nearest(x, floats.E4M3))),),
    ),
    Mistake(
        "NaN beyond the largest number",
        variant(lambda x: by_steps(x, 3, 7).clamp(max=127)),
        "What is larger than 464 became `0x7F` here, as some casts have it too. But that code is no number. Which is the "
        "last one that is, and what should 500 become?",
        "Encoding saturates: the largest number is 0x7E, 448; 0x7F is NaN.",
    ),
    Mistake(
        "the top exponent kept for infinity",
        variant(lambda x: infinite(x, 0x78)),
        "You treat E = 15 as IEEE does, as infinity and NaN, and your numbers end at 240. With so few codes E4M3 cannot "
        "afford that. Which codes of its top exponent are numbers?",
        "E4M3 has no infinity: E = 15 holds 256 … 448, and one NaN.",
        also=(variant(lambda x: infinite(x, 0x77)), variant(lambda x: infinite(x, 0x7F))),
    ),
    Mistake(
        "the fields of E5M2",
        variant(lambda x: by_steps(x, 2, 15, 57344.0)),
        "Your codes have five bits of exponent and two of mantissa. That is E5M2, the sister format with more range and "
        "less precision. How many numbers lie between 1 and 2 in E4M3?",
        "The name says it: 4 bits of exponent, 3 of mantissa.",
        also=(variant(lambda x: by_steps(x, 2, 15)), variant(lambda x: by_steps(x, 2, 15, 448.0))),
    ),
    Mistake(
        "subnormals flushed to zero",
        variant(flushed()),
        "Below 2⁻⁶ you give zero. E = 0 has seven more numbers there, without the implicit 1. How far apart are they?",
        "E = 0: 2⁻⁶ · M/8, down to 2⁻⁹.",
        also=(
            variant(flushed(after=True)),
            variant(flushed(), unsigned_zeros(True)),
            variant(flushed(after=True), unsigned_zeros(True)),
        ),
    ),
    Mistake(
        "subnormals with an implicit 1",
        variant(no_ones),
        "Below 2⁻⁶ you still took 1.M apart, and stored M with E = 0. But E = 0 means 0.M. What is M, if 2⁻⁸ has to be "
        "M/8 · 2⁻⁶?",
        "E = 0: 2⁻⁶ · M/8, with no 1 before it.",
        also=(variant(lambda x: 8 * fields(x, True)[0] + fields(x, True)[1]),),
    ),
    Mistake(
        "subnormals in steps of 2⁻¹⁰",
        variant(lambda x: torch.where(x.abs() < 2**-6, floats.scaled(x.abs(), 10).round().long(), by_steps(x, 3, 7, 448.0))),
        "Your subnormals count steps of 2⁻⁷/8. E = 0 would be the exponent −7, if it went on like that; but then the "
        "numbers just below 2⁻⁶ would be missing. Which exponent do E = 0 and E = 1 have in common?",
        "E = 0: 2⁻⁶ · M/8; its steps are as long as those of E = 1.",
    ),
    Mistake(
        "truncated instead of rounded",
        rounded(torch.floor),
        "You cut the mantissa off behind its third bit. Is 1.99 nearer to 1.875 or to 2?",
        "Nearest: the error is at most half a step.",
        also=(rounded(torch.floor, signed=True),),
    ),
    Mistake(
        "ties not to the even code",
        rounded(floats.away),
        "Exactly between two numbers your function always goes the same way. Half of all ties have to go up, half down, "
        "or sums drift: 1.0625 becomes 1 and 1.1875 becomes 1.25. Which code of the two is even?",
        "Ties to even, as IEEE 754 and every GPU have it.",
        also=(rounded(floats.toward), rounded(lambda t: (t + 0.5).floor(), True), rounded(lambda t: (t - 0.5).ceil(), True)),
    ),
    Mistake(
        "the carry into the exponent lost",
        uncarried(lambda E, M: E << 3 | M),
        "1.97 rounds to 2: its mantissa becomes 8 eighths, and 8 has no place in three bits. It has to carry into the "
        "exponent. What joins E and M so that this happens by itself?",
        "Codes rise with the numbers: after E, M = 7 comes E + 1, M = 0.",
        also=(
            uncarried(lambda E, M: E << 3 | M & 7),
            uncarried(lambda E, M: E << 3 | M.clamp(max=7)),
            uncarried(lambda E, M: E << 3 | M & 7, below=False),
            uncarried(lambda E, M: E << 3 | M.clamp(max=7), below=False),
        ),
    ),
    Mistake(
        "the sign is not a bit of its own",
        variant(sign=floats.unsigned),
        "A float is sign and magnitude: −1 has the code of 1, with bit 7 set. It is neither dropped nor two's "
        "complement. What is −1.0, if 1.0 is 0x38?",
        "The format: S · EEEE · MMM.",
        also=(variant(sign=floats.complement),),
    ),
    Mistake(
        "the sign of −0 lost",
        variant(sign=unsigned_zeros(False)),
        "−0 < 0 is false, so a comparison cannot see its sign; and what is negative and rounds to 0 is −0 as well. What "
        "sees the sign bit itself?",
        "Bit for bit: −0 is 0x80.",
        also=(variant(sign=unsigned_zeros(True)),),
    ),
    Mistake(
        "rounded twice",
        variant(before=lambda x: x.half().float()),
        "On the way to 8 bits your numbers were rounded to 16 first. Just beside the middle, that first rounding makes a "
        "tie, and the second breaks it the wrong way. In which dtype must x stay until the one rounding?",
        "One rounding, from float32 to 8 bits.",
        also=(variant(before=lambda x: x.bfloat16().float()),),
    ),
    Mistake(
        "NaN becomes a number",
        variant(nan=0),
        "What is not a number came out as one. A NaN that turns into an ordinary weight hides that something went wrong. "
        "Which code says it?",
        "NaN stays NaN: 0x7F.",
        also=tuple(variant(nan=code) for code in (0x7E, 40, 0x38, 0x08, 0x01, 0x78)),
    ),
)
