"""read_gptq, with one thing changed: how words are taken apart, where numbers go, which group a channel has."""

import torch

from qcourse.packing.layouts import AWQ_INVERSE
from qcourse.shapes import Tensor


def parts(words: Tensor, bits: int) -> Tensor:
    """The 32/B numbers of every word, along a new last axis, the lowest first."""
    return words.long()[..., None] >> bits * torch.arange(32 // bits) & 2**bits - 1


def with_sign(words: Tensor, bits: int) -> Tensor:
    """Likewise, without a mask for the highest: an arithmetic shift brings the sign along."""
    found = parts(words, bits)
    found[..., -1] = words.long() >> 32 - bits
    return found


def without_mask(words: Tensor, bits: int) -> Tensor:
    """Shifted, and all that lies above it too."""
    return words.long()[..., None] >> bits * torch.arange(32 // bits)


def highest_first(words: Tensor, bits: int) -> Tensor:
    """From the left, as hex digits are read."""
    return parts(words, bits).flip(-1)


def in_pairs(words: Tensor, bits: int) -> Tensor:
    """The two nibbles of each byte swapped; a byte of 8 bits has none."""
    return parts(words, bits).unflatten(-1, (-1, 2)).flip(-1).flatten(-2) if bits == 4 else parts(words, bits)


def as_awq(words: Tensor, bits: int) -> Tensor:
    """AWQ's order of eight nibbles; other widths have none."""
    return parts(words, bits)[..., list(AWQ_INVERSE)] if bits == 4 else parts(words, bits)


def along_k(q: Tensor) -> Tensor:
    """(K/n, N, n) → (K, N): the numbers of a word below each other."""
    return q.transpose(1, 2).flatten(0, 1)


def behind(q: Tensor) -> Tensor:
    """First number 0 of every word, then number 1 of every word."""
    return q.permute(2, 0, 1).flatten(0, 1)


def beside(q: Tensor) -> Tensor:
    """The numbers of a word beside each other, the matrix in its shape all the same."""
    return q.reshape(-1, q.shape[1])


def zeros_behind(z: Tensor) -> Tensor:
    """(K/G, N/n, n) → (K/G, N), first number 0 of every word."""
    return z.transpose(1, 2).flatten(1)


def zeros_below(z: Tensor) -> Tensor:
    """The numbers of a word below each other, as those of qweight."""
    return z.transpose(1, 2).reshape(len(z) * z.shape[2], -1).reshape(len(z), -1)


def value(q: Tensor, z: Tensor, s: Tensor) -> Tensor:
    """What they stand for."""
    return (q - z).double() * s.double()


def in_order(g_idx: Tensor, groups: int) -> Tensor:
    """As if channels k·G … belonged to group k."""
    return torch.arange(len(g_idx)) // (len(g_idx) // groups)


def sorting(g_idx: Tensor) -> Tensor:
    """The channels of group 0, then those of group 1."""
    return torch.sort(g_idx.long(), stable=True).indices


def inverted(g_idx: Tensor, groups: int) -> Tensor:
    """The groups in order, taken in the order that sorts the channels."""
    return in_order(g_idx, groups)[sorting(g_idx)]


def kept(q: Tensor, g_idx: Tensor) -> Tensor:
    """Rows by input channel."""
    return q


def sorted_rows(q: Tensor, g_idx: Tensor) -> Tensor:
    """Rows by group."""
    return q[sorting(g_idx)]


def read(
    weights=parts, zeros=parts, stacked=along_k, across=lambda z: z.flatten(1), zero=lambda z, bits: z + 1,
    group=lambda g_idx, groups: g_idx.long(), rows=kept, value=value, end=lambda W: W.T,
):  # fmt: skip
    """read_gptq with one thing changed."""

    def wrong(qweight, qzeros, scales, g_idx, bits=4):
        q, z = rows(stacked(weights(qweight, bits)), g_idx), zero(across(zeros(qzeros, bits)), bits)
        g = group(g_idx, len(scales))
        return end(value(q, z[g], scales[g]).float())

    return wrong


def in_a_byte(q: Tensor, z: Tensor, s: Tensor) -> Tensor:
    """A difference of two uint8."""
    return (q - z & 0xFF).double() * s.double()


def in_half(q: Tensor, z: Tensor, s: Tensor) -> Tensor:
    """A product in float16."""
    return (q - z).half() * s


def in_half_twice(q: Tensor, z: Tensor, s: Tensor) -> Tensor:
    """Two products in float16, and their difference."""
    return q.half() * s - z.half() * s
