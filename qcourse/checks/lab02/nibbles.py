"""02.3 pack_nibbles(codes) → uint8 (N, K/2): two int4 codes in a byte."""

import torch

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Refuse, Task
from qcourse.packing import bits


def packed(codes):
    """The package's packer, after the offset."""
    if codes.shape[1] % 2:
        raise Refuse(f"K={codes.shape[1]} is odd")
    return bits.pack_nibbles(bits.to_unsigned(codes, 4))


def pair(offset=8, low=lambda u: u[:, 0::2], high=lambda u: u[:, 1::2], shift=4, check=True):
    """pack_nibbles with one thing changed."""

    def wrong(codes):
        if check and codes.shape[1] % 2:
            raise ValueError("odd K")
        u = codes.int() + offset if offset else codes.int() & 0xF
        return (low(u) | high(u) << shift).to(torch.uint8)

    return wrong


def padded(fill):
    """An odd row gets one more code, `fill`."""
    return lambda codes: pair(check=False)(torch.nn.functional.pad(codes, (0, codes.shape[1] % 2), value=fill))


def first_half(u):
    """Columns 0 … K/2-1."""
    return u[:, : u.shape[1] // 2]


def second_half(u):
    """Columns K/2 … K-1."""
    return u[:, u.shape[1] // 2 :]


def sign_bits(codes):
    """No mask and no offset: the low code's sign bits run over the high nibble."""
    if codes.shape[1] % 2:
        raise ValueError("odd K")
    return ((codes[:, 0::2].int() | codes[:, 1::2].int() << 4) & 0xFF).to(torch.uint8)


def int4(g, N, K):
    """Codes -8 … 7."""
    return draw.codes(g, -8, 7, N, K)


PACK_NIBBLES = Task(
    id="02.3",
    function="pack_nibbles",
    title="Two codes in a byte",
    points=3,
    expected=packed,
    properties=(
        Property("one pair", lambda g: [(torch.tensor([[draw.integer(g, -8, -1), draw.integer(g, 0, 7)]]).to(torch.int8),)]),
        Property("several shapes", lambda g: [(int4(g, n, k),) for n, k in ((2, 4), (6, 6), (16, 34))], 2),
        Property("an odd K is refused", lambda g: [(int4(g, n, k),) for n, k in ((2, 3), (4, 7))]),
    ),
    mistakes=(
        Mistake(
            "nibbles swapped",
            pair(low=lambda u: u[:, 1::2], high=lambda u: u[:, 0::2]),
            "The even column sits in your high nibble. Nothing will complain: shapes and dtypes are right, and the "
            "weights are somebody else's (an error of 141 %, notebook 02). Which half of a byte does `& 0xF` read?",
            "Invariant 4: layout is a contract. Even column low, odd column high.",
        ),
        Mistake(
            "the sign lost",
            pair(offset=0),
            "You packed the bit pattern of a signed number: -1 became 15, and 15 is no code between -8 and 7. What can "
            "be added to every code so that the smallest becomes 0 and the largest 15?",
            "Round trip: nibbles are unsigned. A code q is stored as q + 8.",
            also=(sign_bits,),
        ),
        Mistake(
            "halves instead of neighbours",
            pair(low=first_half, high=second_half),
            "You put column 0 together with column K/2. (llama.cpp's Q4_0 does that within a block of 32.) Who shares "
            "a byte with column 0 here: its neighbour, or somebody half a row away?",
            "Invariant 4: byte i holds columns 2i and 2i + 1.",
        ),
        Mistake(
            "the offset is 7",
            pair(offset=7),
            "You added 7, and -8 became -1, which no unsigned nibble can hold. Which number is it that lifts the smallest "
            "code to 0 and the largest to 15?",
            "Round trip: a code q is stored as q + 8.",
        ),
        Mistake(
            "both codes in the low nibble",
            pair(shift=0),
            "Both codes lie on top of each other, and half of every byte is empty. By how many bits must the second "
            "one move out of the way of the first?",
            "Round trip: what is packed must come back, so no bit may be used twice.",
        ),
        Mistake(
            "an odd K accepted",
            lambda codes: pair(check=False)(codes[:, : codes.shape[1] // 2 * 2]),
            "The last code of an odd row has no partner: it is lost, or paired with something invented (with K = 3, "
            "broadcasting even pairs one code with two). What should a function do that cannot do what it was asked?",
            "Bad input is refused by name: never a silent wrong number.",
            also=(padded(0), padded(-8), pair(check=False)),
        ),
        Mistake(
            "pairs along N",
            lambda codes: pair(check=False)(codes.T).T,
            "You paired rows: two outputs share a byte. A kernel walks along K, the axis of the sum. Which two codes "
            "does it want to get with one read?",
            "Invariant 4: packed along K, (N, K/2).",
        ),
    ),
    hint="First make every code a number from 0 to 15. Then split the row into its even and its odd columns (slicing "
    "with a step), move one of them up by half a byte, and join the two.",
    returns=("packed",),
    bits=8,
)
