"""The known mistakes of 05.3."""

import torch

from qcourse.checks.lab05.exponent_rules import (
    CUT,
    FLOORS,
    FORGOTTEN,
    ROUNDED_UP,
    along_n,
    cast,
    floored,
    half_up,
    logarithm,
    padded,
    ragged,
    row,
    rule,
    wrap,
)
from qcourse.checks.task import Mistake

MISTAKES = (
    Mistake(
        "the logarithm of float32",
        rule(lambda a: torch.log2(a.float()).floor().double()),
        "The float just below 2⁻⁴ has a logarithm of −4.00000009, and float32 has no such number: it becomes −4, and "
        "your exponent is one too large. Nothing has to be rounded to find an exponent that is stored in the number. "
        "What reads it?",
        "Exact: ⌊log2⌋ for every float32.",
        also=(rule(lambda a: (torch.log2(a.float()) - 2).floor().double(), emax=0),),
    ),
    Mistake(
        "log2 rounded to the nearest",
        rule(lambda a: logarithm(a).round()),
        "From 1.41 times a power of two on, your exponent is one too large. OCP's rule takes the power of two *below* "
        "the loudest weight. Which rounding never goes up?",
        "OCP MX v1.0: ⌊log2 max|w|⌋ − 2.",
        also=(
            rule(lambda a: (logarithm(a) - 2).round(), emax=0),
            rule(lambda a: cast(a / 6), emax=0),
        ),
    ),
    Mistake(
        "log2 rounded up",
        ROUNDED_UP[0],
        "Your scale is so large that nothing saturates, and every other weight of the block pays with a coarser step. "
        "That is a rule too (some libraries have it, and a cast to float8_e8m0fnu rounds like that), but OCP's goes "
        "down, and lets the loudest weight saturate. Which power of two is it?",
        "OCP MX v1.0: ⌊log2 max|w|⌋ − 2.",
        also=ROUNDED_UP[1:],
    ),
    Mistake(
        "the loudest weight rounded before its exponent is taken",
        rule(half_up),
        "From 1.75 times a power of two on, your exponent is one too large: as if the weight had been rounded to its "
        "code first. compressed-tensors has that rule. Does OCP's look at the mantissa at all?",
        "OCP MX v1.0: ⌊log2 max|w|⌋ − 2, whatever the mantissa.",
    ),
    Mistake(
        "cut off towards zero",
        CUT[0],
        "A conversion to an integer cuts off towards zero: −4.2 becomes −4, and the floor is −5. Logarithms of weights are "
        "negative nearly always. Which function goes down on both sides of zero?",
        "⌊x⌋ is the integer below x, for negative x too.",
        also=CUT[1:],
    ),
    Mistake(
        "divided by 6 before the floor",
        rule(lambda a: logarithm(a / 6).floor(), emax=0),
        "log2 6 is 2.58, so you took off 2 for some blocks and 3 for others. The rule counts exponents only: that of the "
        "loudest weight, and that of 6. What is the exponent of 6?",
        "OCP MX v1.0: ⌊log2 max|w|⌋ − 2.",
    ),
    Mistake(
        "the exponent of E2M1 forgotten",
        FORGOTTEN[0],
        "With your scale the loudest weight is 1.0 … 2.0 steps, and codes go up to 6. Three of eight magnitudes are "
        "never used. By which power of two can the steps be finer?",
        "OCP MX v1.0: minus the largest exponent of the element, 2 for E2M1.",
        also=FORGOTTEN[1:],
    ),
    Mistake(
        "one too large everywhere",
        rule(bias=128),
        "All your exponents are one too large. `frexp` gives a mantissa of ½ … 1, so its exponent is one more than that "
        "of 1.…; and E8M0's bias is that of float32. What is your code for a block whose loudest weight is 4?",
        "The loudest weight of a block is 4 … 8 of its scale: of 4, the scale is 1, code 127.",
        also=(rule(bias=128, after=wrap),),
    ),
    Mistake(
        "the bias forgotten",
        rule(bias=0, after=wrap),
        "A byte has no sign, and the exponents of weights are negative: yours wrapped around, or ended at 0. What has to "
        "be added so that −127 … 127 fits into a byte?",
        "E8M0: the code is the exponent plus 127.",
        also=(rule(bias=0),),
    ),
    Mistake(
        "another bias",
        rule(bias=254, after=wrap),
        "Your codes are off by the same number everywhere. Which code has a scale of exactly 1, in E8M0 as in float32?",
        "E8M0: the code is the exponent plus 127, once.",
        also=(rule(bias=254), rule(bias=126)),
    ),
    Mistake(
        "the scale instead of its code",
        rule(bias=0, after=lambda e: torch.exp2(e).float()),
        "You returned the power of two itself. What the file holds is a byte: only the exponent is stored. Which one, "
        "and plus what?",
        "E8M0: the code is the exponent plus 127.",
    ),
    Mistake(
        "max instead of absmax",
        rule(lambda a: floored(a.abs()), absmax=lambda b: b.amax(-1)),
        "Your scale looks only at the largest weight of the block. Which weight lies farthest from zero in [−4, 1, 2]?",
        "The range must contain every weight of the block, up to the saturation that the rule allows.",
        also=(rule(lambda a: floored(a.clamp(min=0)), absmax=lambda b: b.amax(-1)),),
    ),
    Mistake(
        "not clamped: 255 is NaN",
        rule(after=wrap),
        "A block near 2⁻¹²⁶ would need an exponent of −128, code −1, and that wraps to 255: NaN, for 32 weights. What is "
        "the smallest code?",
        "E8M0: 0 … 254 are 2⁻¹²⁷ … 2¹²⁷, and 255 is NaN.",
    ),
    Mistake(
        "a guard for zeros that lifts small weights",
        FLOORS[0],
        "To keep zeros away from the logarithm you put a floor under every block (or added something to it), and small "
        "weights stand on it too. Which blocks need a guard, and which do not?",
        "Exact for every float32 from 2⁻¹²⁶ on; only a block of zeros is free.",
        also=FLOORS[1:],
    ),
    Mistake(
        "blocks along N",
        along_n(),
        "Your blocks run down the rows: 32 outputs share a scale. In y = x Wᵀ the sum runs over K. Along which axis must "
        "neighbours share a scale, so that hardware can multiply once for a run of the sum?",
        "Granularity: a block is 32 weights along K of one row; scales are (N, K/32).",
        also=(along_n(True), along_n(check=ValueError("N")), along_n(True, ValueError("N"))),
    ),
    Mistake(
        "one scale a row",
        row(True),
        "Every block of a row has the same exponent in your answer, that of the row's loudest weight. Whom does a block "
        "of 32 have to look at?",
        "Granularity: 32 weights share a scale.",
        also=(row(False),),
    ),
    Mistake(
        "a ragged last block accepted in silence",
        ragged,
        "When 32 does not divide K something is left over, and your function says nothing about it. Who notices when the "
        "last columns of a layer have no scale, or another rule than the rest?",
        "Bad input is refused by name: never a silent wrong number.",
        also=(padded,),
    ),
)
