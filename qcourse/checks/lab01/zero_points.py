"""Asymmetric quantizers with one thing changed: the known mistakes of 01.5."""

import torch

from qcourse.checks.task import Mistake


def ends(x):
    """Each row's lowest and highest number."""
    return x.amin(1, keepdim=True), x.amax(1, keepdim=True)


def shared(x):
    """The lowest and highest number of all, for every row."""
    return x.amin().expand(len(x), 1), x.amax().expand(len(x), 1)


def variant(
    stretch=True, steps=-1, sign=-1, guard=True, order="round, add, clamp", symmetric=False, reach=ends, give=lambda t: t
):
    """quantize_asymmetric with one thing changed. `steps` is added to 2^B to give the number of steps."""

    def wrong(x, num_bits=8):
        x, top = x.float(), 2**num_bits - 1
        low, high = reach(x)
        if stretch:
            low, high = low.clamp(max=0), high.clamp(min=0)
        if symmetric:
            high = torch.maximum(high, -low)
            low = -high
        scale = (high - low) / (2**num_bits + steps)
        scale = torch.where(scale == 0, torch.ones_like(scale), scale) if guard else scale
        zero = torch.round(sign * low / scale)
        codes = {
            "round, add, clamp": lambda: (torch.round(x / scale) + zero).clamp(0, top),
            "round, clamp, add": lambda: torch.round(x / scale).clamp(0, top) + zero,
            "round, add": lambda: (torch.round(x / scale) + zero).int(),
            "add unrounded": lambda: torch.round(x / scale - low / scale).clamp(0, top),
            "truncate": lambda: (torch.trunc(x / scale) + zero).clamp(0, top),
            "no zero point": lambda: torch.round(x / scale).clamp(0, top),
        }[order]()
        return codes.to(torch.uint8), give(scale), give(zero.to(torch.uint8))

    return wrong


MISTAKES = (
    Mistake(
        "the range does not contain 0",
        variant(stretch=False),
        "On a row between 5 and 6 your range starts at 5, and the zero point falls outside 0 … 2^B-1. Which code would "
        "mean exactly 0 there, and what does padding with zeros, or a ReLU, then turn into?",
        "Real 0 is the code z, exactly: the range is stretched until it contains 0.",
    ),
    Mistake(
        "2^B steps instead of 2^B - 1",
        variant(steps=0),
        "16 codes are posts in a fence. How many gaps lie between the first post and the last?",
        "The ends of the range are the first code and the last: s = (max - min) / (2^B - 1).",
    ),
    Mistake(
        "the sign of the zero point",
        variant(sign=1),
        "Your z is round(min / s), which is negative or zero, and a code is neither. If min must become code 0, must z "
        "be added to min/s or taken from it, to arrive there?",
        "q = round(x/s) + z, and x = min gives q = 0.",
        also=(variant(sign=1, order="add unrounded"),),
    ),
    Mistake(
        "clamped before the zero point is added",
        variant(order="round, clamp, add"),
        "You clamped x/s to 0 … 2^B-1 and shifted afterwards. What happened to all negative numbers in the first of "
        "these two steps?",
        "Saturation concerns the code that is stored: clamp last.",
        also=(variant(order="round, clamp, add", guard=False),),
    ),
    Mistake(
        "no clamp",
        variant(order="round, add"),
        "Take a row from -7.5 steps to 7.5 steps. Your z is 8, and 7.5 steps round to 8 as well: which code does the "
        "largest number get, and does it exist in four bits?",
        "Two roundings may add up to one step too many: clamp to 0 … 2^B-1.",
    ),
    Mistake(
        "one range for the whole tensor",
        variant(reach=shared),
        "All rows share one range here, and the loudest row sets it. One token in a hundred is much louder than the others: "
        "how many of the codes are left for a quiet one?",
        "Invariant 2, granularity: per token, each row has a scale and a zero point of its own.",
        also=(
            variant(reach=lambda x: (x.amin(), x.amax())),
            variant(reach=lambda x: (x.amin().view(1, 1), x.amax().view(1, 1))),
        ),
    ),
    Mistake(
        "a range for each column",
        variant(reach=lambda x: (x.amin(0, keepdim=True), x.amax(0, keepdim=True))),
        "You reduced over the tokens and kept the channels. Which tokens come in tomorrow is not known today: along which "
        "axis must the reduction run, so that each row can be quantized alone?",
        "Invariant 2, granularity: per token means per row, (M, 1).",
        also=(variant(reach=lambda x: (x.amin(0), x.amax(0))),),
    ),
    Mistake(
        "one rounding for both",
        variant(order="add unrounded"),
        "You rounded (x - min)/s as a whole, but what is stored as zero point is rounded by itself. Take x = 0: is its "
        "code always equal to your z?",
        "Real 0 is the code z, exactly: round(x/s) and z are two whole numbers.",
    ),
    Mistake(
        "a symmetric range after all",
        variant(symmetric=True),
        "Your range runs from -absmax to absmax, so half of the codes wait for numbers that never come. SiLU's outputs "
        "start at -0.28: where could the range start?",
        "A zero point exists to shift the range to where the data is: s = (max - min) / (2^B - 1).",
    ),
    Mistake(
        "no guard for a row of zeros",
        variant(guard=False),
        "max - min is 0 for a row of zeros, and 0/0 is NaN. Which scale would do as well as any other, if every x is 0?",
        "Every stored scale is finite and greater than 0.",
    ),
    Mistake(
        "truncated instead of rounded",
        variant(order="truncate"),
        "A conversion to integers cuts off the fraction. Between which two codes does 6.9 steps lie, and which is nearer?",
        "Invariant 2: |x - x̂| ≤ s/2.",
    ),
)
