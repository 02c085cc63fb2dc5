"""E2M1, the 4-bit numbers of MXFP4 and NVFP4: from x = w / scale to codes, rightly and wrongly."""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.lab05 import floats
from qcourse.checks.lab05.floats import E2M1, by_steps, nearest
from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor


def codes(x: Tensor) -> Tensor:
    """The bits of the nearest numbers, uint8; NaN has none, and gets 0."""
    return floats.with_sign(nearest(x.nan_to_num(0, posinf=9, neginf=-9), E2M1), x, 8)


def differ(got: Tensor, other: Tensor) -> str | None:
    """How two sets of codes differ; 0 and 8 are both zero."""
    return difference(got.where(got != 8, 0), other.where(other != 8, 0), bits=4, where="codes")


def signed(magnitude, sign=floats.with_sign):
    """Codes from the magnitude's code, which may run over into the sign bit."""
    return lambda x: sign(magnitude(x), x, 8)


def joined(code, x, bit):
    """The sign bit set by OR."""
    return (code | bit * torch.signbit(x)).to(torch.uint8)


def rounded(rounding, down=False):
    """Steps rounded in another way; `down`: sign and all."""

    def magnitude(x):
        turn = x.sign() if down else torch.ones_like(x)
        return by_steps(x, 1, 1, 6.0, lambda t: rounding(t * turn) * turn)

    return signed(magnitude)


def integers(step=1.0, most=7, least=-7):
    """Evenly spaced numbers, in two's complement."""
    return lambda x: (torch.round(x.double() / step).clamp(least, most).long() & 15).to(torch.uint8)


def sorted_places(values):
    """Places in a rising list of signed values."""
    return lambda x: nearest(x.double().clamp(-6, 6) + 6, torch.tensor(values).double() + 6).to(torch.uint8)


def spilled(join):
    """No saturation: 7 steps and more are code 8, in the sign bit."""
    return signed(lambda x: by_steps(x, 1, 1), join)


def without_half(x):
    """0.5 is not there."""
    return by_steps(x, 1, 1, 6.0) * (x.abs() >= 1)


FIFTEEN = (-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6)


def two_zeros(first):
    """Sixteen places, −0 and 0 both; `first`: what is nearest to them gets the first of them, else the second."""

    def places(x):
        place = sorted_places(FIFTEEN)(x)
        return (place + (place > 7 if first else place >= 7)).to(torch.uint8)

    return places


def one_or_nothing(x):
    """Below 1, zero or one, whichever is nearer."""
    return torch.where(x.abs() < 1, 2 * (x.abs() >= 0.5), nearest(x, E2M1))


KNOWN = (  # name, what it makes of x (several forms), hint, invariant
    (
        "saturation forgotten",
        (
            spilled(joined),
            spilled(lambda code, x, bit: (code + bit * torch.signbit(x)).to(torch.uint8)),
            spilled(lambda code, x, bit: (code + bit * torch.signbit(x) & 15).to(torch.uint8)),
        ),
        "A weight may be more than 6 of its steps: a power of two leaves up to 7.9, and a rounded scale may be too "
        "small as well. 7 or more rounds to 8, which E2M1 does not have: it ran over into the sign bit, and a loud "
        "weight became zero. Where does it have to stop?",
        "Encoding saturates: beyond 6 it is 6.",
    ),
    (
        "the exponent of frexp taken as it is",
        tuple(signed(lambda x, lowest=lowest: floats.unshifted(x, 1, 1, 6.0, lowest)) for lowest in (0, 1)),
        "`frexp` gives a mantissa of ½ … 1, so that its exponent is one more than that of 1.M. Your steps are twice as "
        "long as they should be. What does it say about 1.0?",
        "E2M1: 2^(E − 1) · 1.M; 1.0 is 0010.",
    ),
    (
        "even steps instead of E2M1",
        (
            integers(),
            integers(most=7, least=-8),
            integers(most=6, least=-6),
            integers(0.5),
            signed(lambda x: x.abs().round().clamp(max=7).long()),
            signed(lambda x: x.abs().round().clamp(max=6).long()),
            signed(lambda x: (2 * x.abs()).round().clamp(max=7).long()),
        ),
        "Your 16 codes are evenly spaced integers, as in int4. A 4-bit float has 0, 0.5, 1, 1.5, 2, 3, 4 and 6, and "
        "its code is the pattern of its bits. What is the code of 6, and of −1.5?",
        "E2M1: S · EE · M, dense near zero.",
    ),
    (
        "the place in a sorted list",
        (
            sorted_places(FIFTEEN),
            two_zeros(True),
            two_zeros(False),
        ),
        "You numbered the values from −6 to 6. Hardware does not look them up in a list: it reads four bits, sign "
        "first. Which code has 0, and which −6?",
        "E2M1: the code is the bit pattern; 0 is 0000, −6 is 1111.",
    ),
    (
        "the sign is not a bit of its own",
        (
            signed(lambda x: nearest(x, E2M1), floats.unsigned),
            signed(lambda x: nearest(x, E2M1), floats.complement),
        ),
        "A float is sign and magnitude: −1.5 has the code of 1.5, with bit 3 set. It is neither dropped nor two's "
        "complement. What is −6, if 6 is 0111?",
        "E2M1: S · EE · M.",
    ),
    (
        "6 cannot be reached",
        (signed(lambda x: by_steps(x, 1, 1, 4.0)),),
        "Your largest magnitude is 4. E2M1 keeps no code for infinity or NaN: its last one, 111, is a number. Which?",
        "E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6.",
    ),
    (
        "0.5 forgotten",
        (
            signed(without_half),
            signed(lambda x: nearest(x, E2M1) * (nearest(x, E2M1) != 1)),
            signed(one_or_nothing),
        ),
        "Between 0 and 1 you have no number. E = 0, M = 1 is E2M1's one subnormal number, 2⁰ · 1/2. Half of all small "
        "weights are near it. Where does 0.4 belong?",
        "E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6.",
    ),
    (
        "truncated instead of rounded",
        (
            rounded(torch.floor),
            rounded(torch.floor, down=True),
        ),
        "Between 4 and 6 you always take 4, and between 0 and 0.5 always 0. With eight magnitudes, how much of a "
        "weight is lost that way, and how much if you take the nearer one?",
        "Nearest: the error is at most half a step.",
    ),
)


def mistakes(with_codes) -> tuple[Mistake, ...]:
    """The known mistakes of a quantizer whose codes are made by `with_codes(function of x)`."""
    made = ((name, *map(with_codes, functions), hint, invariant) for name, functions, hint, invariant in KNOWN)
    return tuple(Mistake(name, wrong, hint, invariant, tuple(also)) for name, wrong, *also, hint, invariant in made)
