"""The known mistakes of 11.2: added elsewhere, carried, wrapped, or packed in another order."""

import torch

from qcourse.checks.lab11.foreign_words import highest_first, parts, with_sign
from qcourse.checks.task import Mistake, Refuse
from qcourse.shapes import Tensor

ONES = 0x11111111


def lacking(z: Tensor, version: int) -> bool:
    """Whether some number has no place in the wanted version."""
    return bool((z == (15 if version == 2 else 0)).any())


def by(version: int) -> int:
    """What is added to each number."""
    return 1 if version == 2 else -1


def joined(z: Tensor, bits: int = 4) -> Tensor:
    """Eight numbers of the last axis in an int32, the first lowest; what does not fit runs over its neighbours."""
    total = sum(z[..., j] << bits * j for j in range(z.shape[-1]))
    total = total & 0xFFFFFFFF
    return torch.where(total >= 2**31, total - 2**32, total).to(torch.int32)


def ored(z: Tensor) -> Tensor:
    """By OR instead of a sum."""
    total = z[..., 0]
    for j in range(1, 8):
        total = total | z[..., j] << 4 * j
    total = total & 0xFFFFFFFF
    return torch.where(total >= 2**31, total - 2**32, total).to(torch.int32)


def wrapped(total: Tensor) -> Tensor:
    """A sum of int64 as an int32 has it."""
    total = total & 0xFFFFFFFF
    return torch.where(total >= 2**31, total - 2**32, total).to(torch.int32)


def numbers(step=by, apart=parts, fit=lambda z: z, join=joined, refuse=lacking, end=lambda t: t):
    """convert_zeros number by number, with one thing changed."""

    def wrong(qzeros, version):
        if refuse(parts(qzeros, 4), version):
            raise Refuse("a number has no place there")
        return end(join(fit(apart(qzeros, 4) + step(version))))

    return wrong


def whole(add=lambda version: by(version) * ONES, refuse=lacking):
    """convert_zeros on whole words, with one thing changed."""

    def wrong(qzeros, version):
        if refuse(parts(qzeros, 4), version):
            raise Refuse("a number has no place there")
        return wrapped(qzeros.long() + add(version))

    return wrong


def never(z: Tensor, version: int) -> bool:
    """Nothing is refused."""
    return False


def only_to(wanted: int):
    """Refused on the way to one version only."""
    return lambda z, version: version == wanted and lacking(z, version)


def either(z: Tensor, version: int) -> bool:
    """0 and 15 refused, whichever version is wanted."""
    return bool(((z == 0) | (z == 15)).any())


def other_way(z: Tensor, version: int) -> bool:
    """The other direction's number."""
    return lacking(z, 3 - version)


MISTAKES = (
    Mistake(
        "carried into the neighbour",
        whole(refuse=never),
        "You added to whole words. A stored 15 becomes 16 by it: its own four bits are 0 then, and the neighbour, another "
        "output's zero point, gets the 1. (The other way, a 0 borrows.) Which numbers have to be looked for first?",
        "z = 16 and z = −1 do not fit four bits: refused, by name.",
        also=(
            numbers(refuse=never),
            numbers(refuse=never, join=ored),
            whole(refuse=only_to(2)),
            whole(refuse=only_to(1)),
            numbers(refuse=only_to(2), join=ored),
            numbers(refuse=only_to(1), join=ored),
        ),
    ),
    Mistake(
        "wrapped around, or cut off, in silence",
        numbers(fit=lambda z: z & 0xF, refuse=never),
        "Your 15 becomes 0, or stays 15: a number that the file did not hold. No carry, but the weights of that group move "
        "by up to 16 steps, and nobody is told. Kernels disagree about such a file, so it is not converted.",
        "Bad input is refused by name: never a silent wrong number.",
        also=(
            numbers(fit=lambda z: z.clamp(0, 15), refuse=never),
            numbers(fit=lambda z: z & 0xF, refuse=only_to(1)),
            numbers(fit=lambda z: z & 0xF, refuse=only_to(2)),
            numbers(fit=lambda z: z.clamp(0, 15), refuse=only_to(1)),
            numbers(fit=lambda z: z.clamp(0, 15), refuse=only_to(2)),
        ),
    ),
    Mistake(
        "the other direction",
        whole(lambda version: -by(version) * ONES),
        "You subtract on the way to version 2, and add on the way to version 1. Version 1 stores z − 1: which of the two "
        "holds the larger number?",
        "GPTQ v1 stores z − 1, v2 stores z.",
        also=(
            whole(lambda version: -by(version) * ONES, other_way),
            whole(lambda version: -by(version) * ONES, never),
            whole(lambda version: -by(version) * ONES, either),
            numbers(lambda version: -by(version), fit=lambda z: z & 0xF),
            numbers(lambda version: -by(version), fit=lambda z: z & 0xF, refuse=other_way),
            numbers(lambda version: -by(version), fit=lambda z: z & 0xF, refuse=never),
        ),
    ),
    Mistake(
        "the wanted version ignored",
        whole(lambda version: ONES),
        "You add one, whatever version is wanted. `version` is the one that should come out: the other one came in.",
        "GPTQ v1 stores z − 1, v2 stores z.",
        also=(
            whole(lambda version: -ONES),
            whole(lambda version: ONES, never),
            whole(lambda version: -ONES, never),
            whole(lambda version: ONES, lambda z, version: bool((z == 15).any())),
            whole(lambda version: -ONES, lambda z, version: bool((z == 0).any())),
            numbers(lambda version: 1, fit=lambda z: z & 0xF, refuse=never),
            numbers(lambda version: 1, fit=lambda z: z & 0xF),
        ),
    ),
    Mistake(
        "one added to the word",
        whole(by),
        "You added 1 to each word. That is its lowest number alone; the other seven zero points did not move.",
        "A word holds eight zero points: each of them changes by one.",
        also=(
            whole(by, never),
            whole(lambda version: by(version) * 0x01010101),
            whole(lambda version: by(version) * 0x01010101, never),
            whole(lambda version: by(version) * 0x10000000),
            whole(lambda version: by(version) * 0x01111111),
        ),
    ),
    Mistake(
        "the numbers of a word in another order",
        numbers(join=lambda z: joined(z.flip(-1))),
        "The eight numbers of a word came back in another order than they had. Whichever order you take them out in, put "
        "them back in the same.",
        "Layout is a contract: number j stays in bits 4j … 4j + 3.",
        also=(numbers(apart=highest_first), numbers(join=lambda z: joined(z.unflatten(-1, (4, 2)).flip(-1).flatten(-2)))),
    ),
    Mistake(
        "the sign of the word",
        numbers(apart=with_sign),
        "A word whose highest number is 8 or more is a negative int32, and a shift to the right brings its sign along: that "
        "number came out 16 too small, or the bits of it ran over all others.",
        "A word is 32 bits, not a number: shift, then mask.",
        also=(numbers(apart=with_sign, join=ored), numbers(apart=with_sign, fit=lambda z: z.clamp(min=0))),
    ),
    Mistake(
        "not packed again",
        numbers(join=lambda z: z.flatten(-2).to(torch.uint8)),
        "Your zero points are right, one by one. A file holds words: eight of them in an int32, as they came.",
        "qzeros are int32 (K/G, N/8), in both versions.",
        also=(
            numbers(join=lambda z: z.flatten(-2).to(torch.int32)),
            numbers(join=lambda z: z.flatten(-2)),
            numbers(end=lambda t: t.long()),
            numbers(end=lambda t: t.long() & 0xFFFFFFFF),
        ),
    ),
)
