"""02.6 pack_awq(codes) → qweight int32 (K, N/8), columns in the order 0, 2, 4, 6, 1, 3, 5, 7."""

import torch

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Task
from qcourse.packing import layouts


def words(columns, order=(0, 2, 4, 6, 1, 3, 5, 7)):
    """Eight neighbours of the last axis in an int32, nibble i holding neighbour order[i]."""
    eights = columns.long().unflatten(-1, (-1, 8))
    return sum(eights[..., j] << (4 * i) for i, j in enumerate(order)).to(torch.int32)


def along(order=(0, 2, 4, 6, 1, 3, 5, 7)):
    """pack_awq in another order."""
    return lambda codes: words(codes.T, order)


def in_bytes(columns):
    """Shifted in uint8: only the columns of the two lowest nibbles, 0 and 2, are left."""
    eights = columns.long().unflatten(-1, (-1, 8))
    return (eights[..., 0] | (eights[..., 2] << 4) & 0xFF).to(torch.int32)


def layer(g, N, K):
    """Codes 0 … 15."""
    return (draw.codes(g, 0, 15, N, K, dtype=torch.uint8),)


def owners(g):
    """Column n holds the code n: the word spells its own order."""
    return [(order.to(torch.uint8).view(8, 1).repeat(1, 8),) for order in (torch.arange(8), torch.randperm(8, generator=g))]


PACK_AWQ = Task(
    id="02.6",
    function="pack_awq",
    title="An AWQ file",
    points=3,
    expected=layouts.pack_awq,
    properties=(
        Property("eight columns", owners),
        Property("square", lambda g: [layer(g, 8, 8), layer(g, 16, 16)]),
        Property("several shapes", lambda g: [layer(g, *s) for s in ((16, 1), (8, 40), (48, 8), (24, 16))], 2),
    ),
    mistakes=(
        Mistake(
            "shifted in uint8",
            lambda codes: in_bytes(codes.T),
            "The codes came as uint8, and you shifted them as they were: a byte moved up by 8 bits or more is 0. What must "
            "they become before they are moved?",
            "Round trip: eight codes of four bits need a type of 32 bits to be moved in.",
        ),
        Mistake(
            "columns in their natural order",
            along(range(8)),
            "Your word holds columns 0, 1, 2 … 7. AWQ's kernel masks it with 0x000F000F and wants two *neighbouring* "
            "columns in the two halves of a register. Which column must lie 16 bits above column 0?",
            "Invariant 4, AWQ: from the lowest nibble, 0 2 4 6 1 3 5 7.",
        ),
        Mistake(
            "the inverse order",
            along((0, 4, 1, 5, 2, 6, 3, 7)),
            "You sent column j to nibble order[j], but order[i] says which column nibble i *holds*. Is a permutation "
            "its own inverse? Try it on column 1.",
            "Invariant 4, AWQ: gather, not scatter. Nibble 1 holds column 2.",
        ),
        Mistake(
            "packed along K",
            lambda codes: words(codes).T,
            "Eight codes of one output share your word: that is GPTQ's direction. AWQ packs eight outputs of one "
            "input: which axis is that?",
            "Invariant 4, AWQ: qweight is (K, N/8), packed along N.",
            also=(words, lambda codes: words(codes, range(8)).T, lambda codes: words(codes, range(8))),
        ),
        Mistake(
            "not transposed",
            lambda codes: words(codes.T).T,
            "Your words are right and lie as (N/8, K). In an AWQ file one row of qweight belongs to one input k: which "
            "index comes first?",
            "Invariant 4, AWQ: qweight is (K, N/8).",
        ),
        Mistake(
            "the first code highest",
            along((7, 5, 3, 1, 6, 4, 2, 0)),
            "You filled the word from the left. The order counts from the lowest nibble, which is the rightmost hex "
            "digit. Which column does a kernel get with `word & 0xF`?",
            "Invariant 4: the first code lies in the lowest bits.",
        ),
    ),
    hint="Transpose, cut N into eights, and give every nibble its column: for i = 0 … 7, which column does nibble i "
    "hold, and by how many bits is it moved?",
    returns=("qweight",),
    bits=32,
)
