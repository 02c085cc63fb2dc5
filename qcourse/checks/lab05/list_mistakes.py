"""The known mistakes of 05.6."""

import numpy as np
import torch

from qcourse.checks.task import Mistake
from qcourse.numerics.codebooks import NF4


def scaled(W, limit=1.0, absmax=lambda b: b.abs().amax(-1, keepdim=True), guard=True, G=64):
    """x = W / scale (N, K) in fp64, and the scale (N, K/64) in fp32, 1 for zeros."""
    blocks = W.double().reshape(len(W), -1, G)
    scale = absmax(blocks) / limit
    scale = torch.where(scale == 0, torch.ones_like(scale), scale) if guard else scale
    return (blocks / scale).reshape(W.shape), scale.squeeze(-1).float()


def closest(x, codebook):
    """The place of the least distance; of NaN, the first."""
    return (x.nan_to_num(-99).unsqueeze(-1) - codebook.double()).abs().argmin(-1)


def variant(place=closest, after=lambda code, book: code.to(torch.uint8), **change):
    """quantize_nf4 with one thing changed: the place of x, what is returned for it, or the scale."""

    def wrong(W, codebook):
        x, scale = scaled(W, **change)
        return after(place(x, codebook), codebook), scale

    return wrong


def searched(right, back=0, library=torch):
    """The list searched for x itself, not for the middles."""

    def place(x, book):
        if library is np:
            found = np.searchsorted(book.double().numpy(), x.numpy(), side="right" if right else "left")
            return (torch.from_numpy(found) - back).clamp(0, 15)
        return (torch.searchsorted(book.double(), x, right=right) - back).clamp(0, 15)

    return place


def by_middles(x, book):
    """Cut in the middles, as if the list were sorted."""
    v = book.double()
    return torch.bucketize(x, (v[1:] + v[:-1]) / 2)


def by_middles_in_numpy(x, book):
    """The same, by NumPy's search, which goes another way where the list is not sorted."""
    v = book.double().numpy()
    return torch.from_numpy(np.searchsorted((v[1:] + v[:-1]) / 2, x.numpy()))


def place_when_sorted(x, book):
    """The place in the sorted list."""
    return closest(x, book.sort().values)


def row(repeat):
    """One scale a row."""

    def wrong(W, codebook):
        x, scale = scaled(W, G=W.shape[1])
        return closest(x, codebook).to(torch.uint8), scale.expand(-1, W.shape[1] // 64) if repeat else scale

    return wrong


def centred(by, mask=None, dtype=torch.uint8):
    """Signed codes."""
    return variant(after=lambda code, book: ((code - by) & mask if mask else code - by).to(dtype))


def even(step, least, most, lift):
    """Evenly spaced steps, as if the list were int4."""
    return lambda x, book: ((x / step).round().clamp(least, most) + lift).long()


MISTAKES = (
    Mistake(
        "the entry below or above instead of the nearest",
        variant(searched(False)),
        "You searched the list for x itself, and what comes back is the place *between* two entries, the upper or the "
        "lower one. Where does one entry end and the next begin?",
        "Nearest: the border of two entries lies in their middle.",
        also=(
            variant(searched(True, 1)),
            variant(searched(False, 1)),
            variant(searched(True)),
            variant(searched(False, library=np)),
            variant(searched(True, 1, np)),
            variant(searched(False, 1, np)),
        ),
    ),
    Mistake(
        "the list taken for sorted",
        variant(by_middles),
        "On NF4 as it is published your function is right. But the list may come in any order (bitsandbytes' FP4 does), "
        "and a search by halves needs a sorted one. Which way of finding the nearest does not care? Or how do you find "
        "back from the sorted place?",
        "The code is the place in the list that was given.",
        also=(variant(place_when_sorted), variant(by_middles_in_numpy)),
    ),
    Mistake(
        "the list that was given not used",
        variant(lambda x, book: closest(x, torch.tensor(NF4.values))),
        "Your places are right for NF4 as it is published, whatever list is handed over. A reader will look them up in "
        "the list that came with the weight. Which argument do you never use?",
        "The code is the place in the list that was given.",
    ),
    Mistake(
        "signed codes",
        centred(8),
        "You shifted the places so that they lie around zero. There is nothing to count in a list: a code is a place, "
        "and a reader looks it up. What would it find at place −3?",
        "A codebook's codes are places: 0 … 15.",
        also=(centred(8, 15), centred(7), centred(7, 15), centred(8, dtype=torch.int8), centred(7, dtype=torch.int8)),
    ),
    Mistake(
        "the values instead of their places",
        variant(after=lambda code, book: book[code]),
        "You returned values of the list. Those are 32 bits each; the file holds four. What does a reader need to find "
        "the value again?",
        "A codebook's codes are places: 0 … 15.",
    ),
    Mistake(
        "even steps instead of the list",
        variant(even(1 / 7, -7, 7, 8)),
        "Your codes do not depend on the list: they are the even steps of int4. The values of NF4 are dense near zero, "
        "where most weights are. What is compared with what, to find the nearest?",
        "The nearest entry of the list.",
        also=(variant(even(1 / 7.5, -8, 7, 8)), variant(even(1 / 7, -7, 7, 7)), variant(even(1 / 8, -8, 7, 8))),
    ),
    Mistake(
        "the scale of int4",
        variant(limit=7),
        "You divided absmax by 7 or 7.5, as for integers. The list ends at 1, so most of your weights lie beyond it, at "
        "its two ends. On which value must the loudest weight land?",
        "scale = absmax / (the loudest value of the list), which is 1.",
        also=(variant(limit=7.5), variant(limit=8), variant(limit=15)),
    ),
    Mistake(
        "one scale a row",
        row(True),
        "All blocks of a row have the scale of its loudest weight. Whom does a block of 64 have to look at?",
        "Granularity: 64 weights along K share a scale.",
        also=(row(False),),
    ),
    Mistake(
        "another block than 64",
        variant(G=32),
        "Your scales are too many or too few. How many weights share one, and how many scales has a row of K?",
        "NF4: blocks of 64.",
        also=(variant(G=16),),
    ),
    Mistake(
        "max instead of absmax",
        variant(absmax=lambda b: b.amax(-1, keepdim=True)),
        "Your scale looks only at the largest weight of the block. Which weight lies farthest from zero in [−4, 1, 2]?",
        "The range must contain every weight of the block.",
    ),
    Mistake(
        "no guard for a block of zeros",
        variant(guard=False),
        "A pruned block has absmax 0, scale 0, and 0/0 is NaN. Its weights are 0 whatever the scale is: so which scales "
        "would be harmless?",
        "Every stored scale is finite and greater than 0.",
        also=(variant(lambda x, book: closest(x.nan_to_num(99), book), guard=False),),
    ),
)
