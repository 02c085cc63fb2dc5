"""08.1, eight codes in a word."""

import torch

from qcourse.checks.task import Mistake, Property, Task
from qcourse.packing.bits import unpack_words
from qcourse.shapes import Tensor


def words(g, *shape: int, negative: bool | None = None) -> Tensor:
    """int32 words; `negative` sets or clears the top bit of all."""
    low, high = (-(2**31) if negative is not False else 0), (0 if negative else 2**31)
    return torch.randint(low, high, shape, generator=g, dtype=torch.int64).to(torch.int32)


def codes(w: Tensor, order=range(8), bits: int = 4) -> Tensor:
    """The code at nibble order[0], order[1], … of each word: the frame of most mistakes."""
    return torch.stack([(w >> bits * i) & 15 for i in order], -1)


def top_with_sign(w: Tensor) -> Tensor:
    """The last code shifted down without a mask, so that the sign came along."""
    out = codes(w)
    out[..., 7] = w >> 28
    return out


def by_bytes(order) -> object:
    """The four bytes of each word in another order, the lower code of each first."""
    return lambda words: codes(words, [2 * byte + half for byte in order for half in (0, 1)])


UNPACK_WORDS = Task(
    id="08.1",
    function="unpack_words",
    title="Eight codes in a word",
    points=2,
    expected=lambda words: unpack_words(words.reshape(-1, 1), 4, 8).view(*words.shape, 8).int(),
    properties=(
        Property("positive words", lambda g: [(words(g, 1, negative=False),), (words(g, 5, negative=False),)]),
        Property("words with the top bit set", lambda g: [(words(g, 1, negative=True),), (words(g, 4, negative=True),)]),
        Property("a weight's worth of words, (N, K/8)", lambda g: [(words(g, 3, 4),), (words(g, 2, 2, 2),)]),
    ),
    mistakes=(
        Mistake(
            "the highest code first",
            lambda words: codes(words, range(7, -1, -1)),
            "Hex digits are written with the highest first, and so you read them. But code 0 lies in the *lowest* bits "
            "of the word. Which shift brings it down?",
            "Invariant 4: the order of the codes is part of the format.",
        ),
        Mistake(
            "the two codes of each byte swapped",
            lambda words: codes(words, (1, 0, 3, 2, 5, 4, 7, 6)),
            "The bytes are in the right order, the halves of each are not: which of the two codes of a byte is the "
            "even one, and in which half does it lie?",
            "Invariant 4: the order of the codes is part of the format.",
        ),
        Mistake(
            "the bytes from the top",
            by_bytes((3, 2, 1, 0)),
            "Within a byte you take the lower code first, as you should, but you start with the byte that is written first. "
            "Which byte of the word holds code 0?",
            "Invariant 4: the order of the codes is part of the format.",
        ),
        Mistake(
            "the sign thrown away",
            lambda words: codes(words.abs()),
            "You made the word positive first. In two's complement that changes almost every bit of a negative word. The "
            "top bit is a bit like the others here: which code does it belong to?",
            "8 codes of 4 bits fill all 32 bits.",
            also=(lambda words: codes(words & 0x7FFFFFFF),),
        ),
        Mistake(
            "AWQ's order",
            lambda words: codes(words, (0, 4, 1, 5, 2, 6, 3, 7)),
            "That is how AWQ interleaves. The words of this lab are plain: code j lies at bits 4j … 4j+3.",
            "Invariant 4: a kernel handed another layout computes garbage without any error.",
        ),
        Mistake(
            "the mask forgotten",
            lambda words: torch.stack([words >> 4 * i for i in range(8)], -1),
            "After the shift, the code that you want is lowest, but all the codes above it are still there. What is "
            "left of a number when only four bits of it may stay?",
            "A 4-bit code is 0 … 15.",
        ),
        Mistake(
            "the last code with its sign",
            top_with_sign,
            "For code 7 you trusted the shift alone: nothing lies above it. But int32 has a sign, and a shift to the "
            "right repeats it. What do the upper 28 bits hold when the word was negative?",
            "A 4-bit code is 0 … 15.",
        ),
        Mistake(
            "the 8 subtracted already",
            lambda words: codes(words) - 8,
            "You have gone one step too far: the 8 belongs to what a code *means*. What is asked for here is what is "
            "*stored*.",
            "Stored codes are unsigned; the offset comes with the scale.",
        ),
        Mistake(
            "shifted by one bit a code",
            lambda words: codes(words, bits=1),
            "You shift by j for code j. How many bits does each of the codes below it occupy?",
            "8 codes of B bits are B bytes.",
        ),
    ),
    hint="Take 0x76543210 and paper. How far must it be shifted for code 3 to lie lowest, and what removes the codes above? "
    "Then do all eight at once with a row of eight shifts.",
    returns=("codes",),
    bits=4,
    words=("words",),
)
