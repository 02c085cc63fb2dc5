"""The known mistakes of 11.1: the four tensors read with one thing changed."""

import torch

from qcourse.checks.lab11.foreign_words import (
    as_awq,
    behind,
    beside,
    highest_first,
    in_a_byte,
    in_half,
    in_half_twice,
    in_order,
    in_pairs,
    inverted,
    read,
    sorted_rows,
    sorting,
    with_sign,
    without_mask,
    zeros_behind,
    zeros_below,
)
from qcourse.checks.task import Mistake


def both(way) -> tuple:
    """Words taken apart another way: of both tensors, of one, of the other."""
    return read(way, way), (read(way), read(zeros=way))


MISTAKES = (
    Mistake(
        "the zero point off by one",
        read(zero=lambda z, bits: z),
        "You took the zero points as they are stored. That is version 2; a file of version 1 stores them one smaller, so "
        "every weight of yours is off by a whole step, in the same direction. What does a symmetric file show, 7 or 8?",
        "GPTQ v1: qzeros hold z − 1.",
        also=(read(zero=lambda z, bits: z - 1), read(zero=lambda z, bits: z + 2)),
    ),
    Mistake(
        "8 taken for every zero point",
        read(zero=lambda z, bits: torch.full_like(z, 2 ** (bits - 1))),
        "Your weights do not depend on qzeros. A symmetric file has the same zero point everywhere, and stores it all the "
        "same; another file has others, and both are read by one function.",
        "w = s · (q − z), with the z of the file.",
        also=(read(zero=lambda z, bits: torch.full_like(z, 8)), read(zero=lambda z, bits: 0 * z)),
    ),
    Mistake(
        "the sign of the word",
        both(with_sign)[0],
        "A word whose highest number is 8 or more is a negative int32, and shifting a negative number to the right fills "
        "up with ones: that number comes out 16 too small (or 256). Which bits of the shifted word are yours?",
        "A word is 32 bits, not a number: shift, then mask.",
        also=both(with_sign)[1],
    ),
    Mistake(
        "no mask behind the shift",
        both(without_mask)[0],
        "After the shift the number that you want is in the lowest bits, and all its higher neighbours are still above "
        "it. What is left of them must go.",
        "Shift, then mask: B bits belong to one number.",
        also=both(without_mask)[1],
    ),
    Mistake(
        "the first number highest",
        both(highest_first)[0],
        "You took the word from the left, as its hex digits are written. Number 0 lies in the lowest bits, on the right.",
        "Layout is a contract: the first code lies in the lowest bits.",
        also=both(highest_first)[1],
    ),
    Mistake(
        "another order within the word",
        both(in_pairs)[0],
        "Your eight numbers come in an order that belongs to another format: the nibbles of each byte swapped, or AWQ's "
        "0 2 4 6 1 3 5 7. GPTQ knows no such thing: number j lies 4 · j bits from the right.",
        "Layout is a contract: number j of a word in bits B·j and up.",
        also=(*both(in_pairs)[1], both(as_awq)[0], *both(as_awq)[1]),
    ),
    Mistake(
        "the numbers of a word in the wrong places",
        read(stacked=beside),
        "You took the words apart rightly, and laid the numbers down in the wrong order. The eight numbers of "
        "qweight[r, n] are the rows 8r, 8r + 1, … of one column; those of qzeros[g, c] the columns 8c, 8c + 1, … of one "
        "row. Which axis must the new one stand beside before you flatten?",
        "GPTQ: qweight is packed along K, qzeros along N; neighbours share a word.",
        also=(
            read(stacked=behind),
            read(across=zeros_behind),
            read(across=zeros_below),
            read(stacked=behind, across=zeros_behind),
            read(stacked=beside, across=zeros_behind),
            read(stacked=beside, across=zeros_below),
        ),
    ),
    Mistake(
        "g_idx ignored",
        read(group=in_order),
        "You gave the first G channels group 0, the next ones group 1. That holds for files without act_order. Here "
        "channel k belongs to the group that `g_idx[k]` says, and the two differ.",
        "g_idx: the group of each input channel.",
    ),
    Mistake(
        "g_idx read backwards",
        read(group=inverted),
        "You sorted the channels by their group, and forgot to put them back, or put them where the sorting takes them "
        "*from*. The codes already are in the order of the input channels: which tensors have to follow them?",
        "W's columns are the input channels, in their order; g_idx says which scale each of them meets.",
        also=(
            read(rows=sorted_rows, group=in_order),
            read(rows=sorted_rows),
            read(group=lambda g_idx, groups: g_idx.long()[sorting(g_idx)]),
        ),
    ),
    Mistake(
        "another formula",
        read(value=lambda q, z, s: (z - q).double() * s.double()),
        "Your zero point is added, or multiplied wrongly, or everything has the other sign. Which code must give the "
        "weight 0?",
        "w = s · (q − z): the scale multiplies, and code z is the number 0.",
        also=(
            read(value=lambda q, z, s: (q + z).double() * s.double()),
            read(value=lambda q, z, s: q.double() * s.double() - z),
            read(value=lambda q, z, s: q.double() - z.double() * s.double()),
            read(value=lambda q, z, s: (q - z).double() / s.double()),
        ),
    ),
    Mistake(
        "subtracted in a byte",
        read(value=in_a_byte),
        "Codes and zero points are small and unsigned, and so you made them uint8. Their difference may be negative, and "
        "a uint8 turns −3 into 253.",
        "q − z is signed: it needs a type that is.",
    ),
    Mistake(
        "computed in 16 bits",
        read(value=in_half),
        "The scales are float16, and you multiplied in it: each product is rounded to 11 bits. In float32 there is "
        "nothing to round here. (An engine does the former, for speed, and its weights differ a little from yours.)",
        "Computed in float32 or wider: s · (q − z) is exact.",
        also=(read(value=in_half_twice),),
    ),
    Mistake(
        "not transposed",
        read(end=lambda W: W),
        "Your weights are right, as W.T: GPTQ keeps them so, and y = x @ W.T wants W. Which axis is the output?",
        "W is (N, K): outputs first.",
        also=(read(end=lambda W: W.reshape(W.shape[1], W.shape[0])),),
    ),
)
