"""The known mistakes of 13.3: words shifted and masked with one thing changed, word by word in Python's numbers."""

import torch

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor

WORD = 1 << 32


def signed(n: int) -> int:
    """A number of 32 bits as int32 has it."""
    n %= WORD
    return n - WORD if n >= WORD // 2 else n


def each(turn, dtype=torch.int32, sign=signed):
    """Word by word, Python's numbers in and out."""
    return lambda words: torch.tensor([sign(turn(w)) for w in words.flatten().tolist()], dtype=dtype).reshape(words.shape)


def by_digits(turn, dtype=torch.int32, sign=signed):
    """Word by word as eight hexadecimal digits, the highest first."""
    return each(lambda w: int(turn(f"{w % WORD:08X}"), 16), dtype, sign)


def halves(low=0x0F0F0F0F, up=4, down=4, high=0x0F0F0F0F, logical=False):
    """(w & low) << up | (w >> down) & high; logical: >> brings zeros in, as for uint32."""
    return each(lambda w: (w & low) << up | ((w % WORD if logical else w) >> down) & high)


def along(axis: int):
    """Words themselves exchanged with their neighbours along an axis; the last of an odd number stays."""

    def wrong(words):
        at = torch.arange(words.shape[axis])
        return words.index_select(axis, torch.where((at ^ 1) < len(at), at ^ 1, at))

    return wrong


def exchanged(words: Tensor) -> Tensor:
    """The right answer: digits in pairs."""
    return by_digits(lambda d: "".join(d[i ^ 1] for i in range(8)))(words)


def as_bytes(words: Tensor) -> Tensor:
    """The right bytes, not put together again."""
    return exchanged(words).view(torch.uint8)


MISTAKES = (
    Mistake(
        "the sign came along",
        each(lambda w: (w & 0x0F0F0F0F) << 4 | signed(w & 0xF0F0F0F0) >> 4),
        "Words whose highest bit is 1 are wrong in their highest digit, which became F. An int32 is a signed number, and "
        ">> fills from the left with its sign. Does the mask come before the shift, or after it?",
        "What >> brings in from the left is masked away.",
        also=(each(lambda w: ((w & 0x0F0F0F0F) << 4) + (signed(w & 0xF0F0F0F0) >> 4)),),
    ),
    Mistake(
        "no mask",
        each(lambda w: w << 4 | w >> 4),
        "Each byte received digits of its neighbours: a shift moves all 32 bits, across the borders of bytes. Which bits "
        "of each byte may take part in a shift to the left, and which in one to the right?",
        "A code never leaves its byte.",
        also=(
            halves(low=-1, high=-1, logical=True),
            halves(low=-1),
            halves(high=-1, logical=True),
            halves(high=-1),
            each(lambda w: (w << 4) + (w >> 4)),
            each(lambda w: (w << 4) ^ (w >> 4)),
            each(lambda w: (w << 4) + (w % WORD >> 4)),
        ),
    ),
    Mistake(
        "only one half moved",
        halves(low=0),
        "Every other digit of yours is 0, or stands where it stood. An exchange has two directions: the low half of a "
        "byte goes up, the high half goes down. Which of the two is missing?",
        "Both codes of a byte move, each to the other's place.",
        also=(
            halves(high=0),
            each(lambda w: w & 0xF0F0F0F0 | w >> 4 & 0x0F0F0F0F),
            each(lambda w: w & 0x0F0F0F0F | w << 4 & 0xF0F0F0F0),
            each(lambda w: w | w >> 4 & 0x0F0F0F0F),
            each(lambda w: w | w << 4 & 0xF0F0F0F0),
        ),
    ),
    Mistake(
        "all eight digits turned round",
        by_digits(lambda d: d[::-1]),
        "You wrote the whole word from behind. Codes 0 and 7 are now in each other's place, and so are 1 and 6. How many "
        "codes does a byte hold, and which is the neighbour of code 6?",
        "Code 2j and code 2j + 1 of a word are exchanged.",
        also=(by_digits(lambda d: d[3::-1] + d[:3:-1]),),
    ),
    Mistake(
        "bytes exchanged",
        by_digits(lambda d: d[6:] + d[4:6] + d[2:4] + d[:2]),
        "Your bytes are whole, and in another order: that is little endian against big endian, or a shift by 8. The "
        "accident happened inside of each byte. How many bits has half a byte?",
        "A code never leaves its byte.",
        also=(
            by_digits(lambda d: d[2:4] + d[:2] + d[6:] + d[4:6]),
            by_digits(lambda d: d[6:] + d[:6]),
            by_digits(lambda d: d[2:] + d[:2]),
            by_digits(lambda d: d[4:] + d[:4]),
        ),
    ),
    Mistake(
        "exchanged across bytes",
        by_digits(lambda d: d[1:] + d[0]),
        "Every code went to a neighbour, but to one of another byte: the word was turned by four bits, or the pairs begin "
        "at code 1. Which two codes lie in the lowest byte of a word?",
        "Code 2j and code 2j + 1 are exchanged, j from 0.",
        also=(by_digits(lambda d: d[7] + d[:7]), by_digits(lambda d: d[0] + d[2] + d[1] + d[4] + d[3] + d[6] + d[5] + d[7])),
    ),
    Mistake(
        "one byte of four",
        each(lambda w: (w & 0xF) << 4 | w >> 4 & 0xF),
        "You mended the lowest byte, or kept only the lowest. A word has four of them, and the mask "
        "0x0F covers one. How does the mask for all four look?",
        "All four bytes of a word are mended.",
        also=(
            each(lambda w: w & ~0xFF | (w & 0xF) << 4 | w >> 4 & 0xF),
            each(lambda w: (w & 0x0F0F) << 4 | w >> 4 & 0x0F0F),
            each(lambda w: w & ~0xFFFF | (w & 0x0F0F) << 4 | w >> 4 & 0x0F0F),
            each(lambda w: w & ~0xF | w >> 4 & 0xF),
        ),
    ),
    Mistake(
        "words exchanged",
        along(1),
        "Whole words are in each other's place, each as it was. The codes that changed places lie in one word, which "
        "holds eight of them. On which level did the accident happen?",
        "A word stays where it is; codes move inside of it.",
        also=(along(0), lambda words: words.flip(1), lambda words: words.flip(0)),
    ),
    Mistake(
        "another dtype, or another shape",
        by_digits(lambda d: "".join(d[i ^ 1] for i in range(8)), torch.int64),
        "The right bits came back, and not as int32 words (N, K/8): as int64, as bytes, or as codes. The loader reads four "
        "bytes for a word and no more. What has to be done with bytes or wide numbers at the end?",
        "int32 in, int32 out, the same shape.",
        also=(
            by_digits(lambda d: "".join(d[i ^ 1] for i in range(8)), torch.int64, lambda n: n),
            as_bytes,
            lambda words: as_bytes(words).flatten(1),
            lambda words: exchanged(words).flatten(),
        ),
    ),
    Mistake(
        "nothing moved",
        lambda words: words,
        "The words came back as they were. If you exchanged the halves twice, or wrote each half where it was found, that "
        "is what happens. Where does the lower half of a byte go?",
        "Code 2j and code 2j + 1 of a word are exchanged.",
    ),
)
