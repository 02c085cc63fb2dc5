"""02.4 unpack_nibbles(packed) → int8 codes (N, K): the way back."""

import torch

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Task


def unpacked(packed):
    """By a table of all 256 bytes."""
    table = torch.tensor([[(b % 16) - 8, (b // 16) - 8] for b in range(256)], dtype=torch.int8)
    return table[packed.long()].flatten(-2)


def split(low=lambda p: p & 0xF, high=lambda p: p >> 4, signed=lambda u: u - 8, interleave=True, dtype=torch.int8):
    """unpack_nibbles with one thing changed."""

    def wrong(packed):
        p = packed.int()
        a, b = signed(low(p)), signed(high(p))
        return (torch.stack((a, b), -1).flatten(-2) if interleave else torch.cat((a, b), -1)).to(dtype)

    return wrong


UNPACK_NIBBLES = Task(
    id="02.4",
    function="unpack_nibbles",
    title="And out again",
    points=3,
    expected=unpacked,
    properties=(
        Property("one byte", lambda g: [(draw.codes(g, 0x80, 0x9F, 1, 1, dtype=torch.uint8) | 0x05,)]),
        Property(
            "several shapes",
            lambda g: [(draw.codes(g, 0, 255, n, k, dtype=torch.uint8),) for n, k in ((2, 2), (5, 16), (33, 3))],
            2,
        ),
        Property("every byte there is", lambda g: [(torch.randperm(256, generator=g).to(torch.uint8).view(8, 32),)]),
    ),
    mistakes=(
        Mistake(
            "nibbles swapped",
            split(low=lambda p: p >> 4, high=lambda p: p & 0xF),
            "Your even columns come from the high nibble. Look at the layout once more: 0xD5 holds the pair (5 - 8, 13 "
            "- 8). Which hex digit of a byte is its low half?",
            "Invariant 4: layout is a contract. Even column low, odd column high.",
        ),
        Mistake(
            "the offset not taken off",
            split(signed=lambda u: u),
            "Your codes run from 0 to 15. Which stored number means a weight of exactly 0, and what does it come out as?",
            "Round trip: q was stored as q + 8.",
        ),
        Mistake(
            "read as two's complement",
            split(signed=lambda u: torch.where(u > 7, u - 16, u)),
            "You read the nibble 15 as -1. That is how a processor stores signed numbers, but not how these were "
            "stored: which nibble did the code 0 become when it was packed?",
            "Round trip: offset binary, q + 8, is not two's complement.",
        ),
        Mistake(
            "columns not interleaved",
            split(interleave=False),
            "All even columns come first, and then all odd ones. Byte 0 holds columns 0 and 1: where must its two "
            "codes stand?",
            "Round trip: byte i gives columns 2i and 2i + 1.",
        ),
        Mistake(
            "the low nibble not masked",
            split(low=lambda p: p),
            "The upper four bits are still in your low code, so it can be as large as 255. Which operation keeps four "
            "bits of a number and clears the rest?",
            "A nibble is four bits: 0 … 15 before the offset.",
        ),
        Mistake(
            "the high nibble not shifted",
            split(high=lambda p: p & 0xF0),
            "Your mask leaves the upper four bits where they are, so the second code counts sixteens: 0xD5 & 0xF0 is 208, "
            "not 13. How far must they move to count ones?",
            "A nibble is four bits: 0 … 15 before the offset.",
        ),
        Mistake(
            "subtracted in uint8",
            split(dtype=torch.uint8),
            "An unsigned byte has no -8: 0 - 8 is 248 there. Which dtype holds -8 … 7, and when must the number get it?",
            "Codes are signed again: int8, -8 … 7.",
        ),
    ),
    hint="One byte gives two numbers: its remainder by 16 and what is left. Make them signed again, then weave the two "
    "matrices together: a new last axis of two, flattened.",
    returns=("codes",),
    words=("packed",),
)
