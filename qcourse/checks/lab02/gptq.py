"""02.5 pack_int32_gptq(codes, zeros) → qweight int32 (K/8, N), qzeros int32 (groups, N/8), version 1."""

import torch

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Refuse, Task
from qcourse.packing import layouts


def expected(codes, zeros):
    """The package's own layout, proven against the reference libraries."""
    if (zeros == 0).any():
        raise Refuse("a zero point of 0 cannot be stored")
    return layouts.pack_gptq(codes), layouts.pack_gptq_zeros(zeros, version=1)


def words(u, highest_first=False, dtype=torch.int32):
    """Eight numbers of the last axis in a word: the first one lowest, or highest."""
    eights = u.long().unflatten(-1, (-1, 8))
    eights = eights.flip(-1) if highest_first else eights
    total = sum(eights[..., j] << (4 * j) for j in range(8))
    return total.to(dtype)


def joined(u):
    """The same by OR: the bits of a negative or too large number run over its neighbours."""
    eights = u.int().unflatten(-1, (-1, 8))
    word = eights[..., 0]
    for j in range(1, 8):
        word = word | eights[..., j] << (4 * j)
    return word


def in_bytes(u):
    """Shifted in uint8: what is moved beyond the eighth bit is gone, so only two numbers of eight are left."""
    eights = u.to(torch.uint8).long().unflatten(-1, (-1, 8))
    return (eights[..., 0] | (eights[..., 1] << 4) & 0xFF).to(torch.int32)


def check_zeros(zeros):
    """What the task asks for."""
    if (zeros == 0).any():
        raise ValueError("z = 0 cannot be stored")


def variant(weight=lambda q: words(q).T, stored=lambda z: z.long() - 1, zero=lambda z: words(z.T), check=True):
    """pack_int32_gptq with one thing changed."""

    def wrong(codes, zeros):
        if check:
            check_zeros(zeros)
        return weight(codes), zero(stored(zeros))

    return wrong


def file(g, N, K, groups, low=1):
    """Codes and zero points of a layer."""
    return draw.codes(g, 0, 15, N, K, dtype=torch.uint8), draw.codes(g, low, 15, N, groups, dtype=torch.uint8)


def with_a_zero(g):
    """Somewhere z = 0."""
    codes, zeros = file(g, 8, 16, 8)
    zeros[draw.integer(g, 0, 7), draw.integer(g, 0, 7)] = 0
    return [(codes, zeros)]


def symmetric(g):
    """z = 8 everywhere: each word of qzeros reads 0x77777777."""
    codes, _ = file(g, 16, 8, 8)
    return [(codes, torch.full((16, 8), 8, dtype=torch.uint8))]


PACK_INT32_GPTQ = Task(
    id="02.5",
    function="pack_int32_gptq",
    title="A GPTQ file",
    points=5,
    expected=expected,
    properties=(
        Property("one word a column", lambda g: [file(g, 8, 8, 8)], 2),
        Property("several shapes", lambda g: [file(g, *s) for s in ((8, 16, 1), (16, 64, 8), (8, 24, 8), (32, 16, 16))], 2),
        Property("a symmetric file", symmetric),
        Property("z = 0 is refused", with_a_zero),
    ),
    mistakes=(
        Mistake(
            "the zero point off by one",
            variant(stored=lambda z: z.long()),
            "You stored z as it is. GPTQ's first version stores something one smaller, and every reader adds it back: "
            "by how much is each weight of your file off, in steps? A symmetric file (z = 8) shows 0x77777777, not "
            "0x88888888.",
            "Invariant 4, GPTQ v1: qzeros hold z - 1.",
            also=(
                variant(stored=lambda z: z.long(), check=False),
                variant(stored=lambda z: z.long() + 1),
                variant(stored=lambda z: (z.long() + 1) & 0xF, check=False),
            ),
        ),
        Mistake(
            "z = 0 stored as something else",
            variant(stored=lambda z: (z.long() - 1) & 0xF, check=False),
            "0 - 1 does not exist in four unsigned bits: it wraps to 15, or borrows from the neighbouring nibble. "
            "Either way the file holds a zero point that nobody chose. What should a packer do with it?",
            "Bad input is refused by name: never a silent wrong number.",
            also=(
                variant(check=False),
                variant(zero=lambda z: joined(z.T), check=False),
                variant(stored=lambda z: z - 1, zero=lambda z: joined(z.T), check=False),
                variant(stored=lambda z: (z.long() - 1) & 0xFF, check=False),
                variant(stored=lambda z: z.long().clamp(min=1) - 1, check=False),
            ),
        ),
        Mistake(
            "packed along N",
            variant(weight=lambda q: words(q.T)),
            "Eight output columns share your word, as in AWQ's file. GPTQ packs eight codes of the same column of W.T: "
            "along which of N and K do those run?",
            "Invariant 4, GPTQ: qweight is (K/8, N), packed along K.",
            also=(
                variant(weight=lambda q: words(q.T).T),
                variant(weight=lambda q: words(q.T).T, zero=lambda z: words(z.T).T),
                variant(weight=lambda q: words(q.T), zero=lambda z: words(z.T).T),
            ),
        ),
        Mistake(
            "not transposed",
            variant(weight=words),
            "Your words are right, and they stand in W's order (N, K/8), as compressed-tensors has them. GPTQ's matrix "
            "is that of W.T: which index comes first?",
            "Invariant 4, GPTQ: qweight is (K/8, N), qzeros (K/G, N/8).",
            also=(
                variant(zero=lambda z: words(z.T).T),
                variant(weight=words, zero=lambda z: words(z.T).T),
                variant(weight=words, zero=words),
            ),
        ),
        Mistake(
            "shifted in uint8",
            variant(weight=lambda q: in_bytes(q).T, zero=lambda z: in_bytes(z.T)),
            "The codes came as uint8, and you shifted them as they were: a byte moved up by 8 bits or more is 0. How many "
            "of your eight codes are left in a word, and what must they become before they are moved?",
            "Round trip: eight codes of four bits need a type of 32 bits to be moved in.",
            also=(variant(weight=lambda q: in_bytes(q).T), variant(zero=lambda z: in_bytes(z.T))),
        ),
        Mistake(
            "the first code highest",
            variant(weight=lambda q: words(q, True).T, zero=lambda z: words(z.T, True)),
            "Read your word as hex digits, from the left: 0, 1, 2 … That looks natural, but nibble 0 is the one on the "
            "right. Which code does a kernel get with `word & 0xF`?",
            "Invariant 4: the first code lies in the lowest bits.",
            also=(variant(weight=lambda q: words(q, True).T), variant(zero=lambda z: words(z.T, True))),
        ),
        Mistake(
            "zero points packed along the groups",
            variant(zero=lambda z: words(z).T),
            "qweight is packed along K, and you did the same with the zero points. But a kernel that computes eight "
            "neighbouring outputs wants their zero points in one word. Along which axis are those packed?",
            "Invariant 4, GPTQ: qzeros are (K/G, N/8), packed along N.",
            also=(variant(zero=words),),
        ),
        Mistake(
            "words of 64 bits",
            variant(
                weight=lambda q: words(q, dtype=torch.int64).T,
                zero=lambda z: words(z.T, dtype=torch.int64),
            ),
            "The bits are right, but half of every word is empty: torch counts in int64 unless told otherwise. How "
            "many bytes does your file take for each code?",
            "Eight codes of four bits are 32 bits: the dtype is int32.",
            also=(
                variant(weight=lambda q: words(q, dtype=torch.int64).T),
                variant(zero=lambda z: words(z.T, dtype=torch.int64)),
            ),
        ),
    ),
    hint="Build a word as you built a byte: eight codes, each moved by four bits more than the one before. Do it for "
    "eight rows of the transposed matrix at once (rows 0, 8, 16 …, then 1, 9, 17 …). Zero points likewise, but of "
    "which axis?",
    returns=("qweight", "qzeros"),
    bits=32,
)
