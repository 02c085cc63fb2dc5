"""What is said to the mistakes of 10.1 and 10.2: some of one task, some of both."""

from qcourse.checks.lab10.quantizers import PROGRAMS, turned
from qcourse.checks.task import Mistake


def mistake(programs: str, name: str, hint: str, invariant: str, turn=None) -> Mistake:
    """A mistake by its programs' key; `turn`: each of them turned."""
    first, *others = PROGRAMS[programs] if turn is None else map(turn, PROGRAMS[programs])
    return Mistake(name, first, hint, invariant, tuple(others))


COMMON = (  # those that do not depend on who shares a scale: programs, name, hint, invariant
    (
        "counted",
        "a zero point in codes, as in lab 01",
        "Your `zero` counts steps, or has the other sign. Here it is a number in the units of the input: what code "
        "0 stands for, added after the multiplication. Put your codes into scale · codes + zero: does the input "
        "come back?",
        "KIVI: x̂ = scale · codes + zero, zero = min.",
    ),
    (
        "stretched",
        "the range stretched until it contains 0",
        "Between 5 and 6 your range begins at 0, and five sixths of the codes wait for numbers that never come. "
        "Lab 01's zero point was a whole code and needed that. Where may a range begin if zero is a number of its "
        "own?",
        "KIVI: the range is min … max, wherever it lies.",
    ),
    (
        "symmetric",
        "a symmetric range after all",
        "Your range runs from −absmax to absmax. A group that lies between 5 and 6 uses a twelfth of it: how many "
        "of 16 codes is that? Where does the group itself begin and end?",
        "KIVI is asymmetric: scale = (max − min) / (2^B − 1).",
    ),
    (
        "steps",
        "another number of steps than 2^B − 1",
        "16 codes are posts in a fence. How many gaps lie between the first post and the last?",
        "The ends of the range are the first code and the last: scale = (max − min) / (2^B − 1).",
    ),
    (
        "truncated",
        "cut off instead of rounded",
        "A conversion to integers cuts off the fraction (and `ceil` fills it up). Between which two codes does 6.9 "
        "steps lie, and which is nearer?",
        "Invariant 2: |x − x̂| ≤ scale/2.",
    ),
    (
        "bits",
        "another number of bits",
        "Your codes run to 15, or to 255, whatever num_bits says. How many codes have two bits?",
        "The codes are 0 … 2^B − 1.",
    ),
    (
        "flat",
        "no guard for a group that does not move",
        "max − min is 0 where all numbers of a group are equal (padding, for one), and 0/0 is NaN. Its codes are "
        "all 0 and zero says everything: which scale would do as well as any other?",
        "Every stored scale is finite and greater than 0.",
    ),
)


def common(turn=None) -> tuple[Mistake, ...]:
    """COMMON, for keys; or turned, for values."""
    return tuple(mistake(*row, turn) for row in COMMON)


KEYS = (
    mistake(
        "other axis",
        "per token instead of per channel",
        "Each of your groups lies in one token. A loud channel of K is loud in every token: it is in the range of every "
        "token's group, and its neighbours get what is left of the codes. Along which axis do loud and quiet never mix?",
        "KIVI: keys per channel. Who shares a scale decides who pays for the loud one.",
    ),
    mistake(
        "all tokens",
        "one group for all tokens",
        "Each of your channels has one scale for all tokens. It is known only when the last token has come, and every "
        "new extreme changes all codes that were written before. How many tokens are to share a scale?",
        "Groups of G tokens: when a group is written, it is final.",
    ),
    mistake(
        "all channels",
        "channels that share a scale",
        "Your scale covers several channels, so that the loudest sets the step of the quietest. How many scales has a "
        "group of G tokens?",
        "KIVI: one scale for each channel of each group, (T/G, D).",
    ),
    mistake(
        "dealt",
        "tokens that are not neighbours in a group",
        "Your groups have G tokens each, but not G in a row: the reshape dealt them out like cards. Of a tensor (T, D) "
        "the first axis becomes (T/G, G), in this order. Which of the two is the axis that has to disappear?",
        "A group is the next G tokens: it is full when the last of them has come.",
    ),
    mistake(
        "transposed",
        "turned by a quarter",
        "The numbers are right, but they do not lie where they are looked for: K is (T, D), and its codes and scales "
        "follow. Which axis comes first in what the specification promises?",
        "The specification: codes (T, D), scale and zero (T/G, D).",
    ),
    *common(),
    mistake(
        "ragged",
        "a group that is not full",
        "10 tokens are two groups of 4, and 2 tokens that wait. You quantized them, filled them up with zeros, or lost "
        "them. What becomes of their scale when the next token comes and is louder?",
        "A group is quantized when it is full; before that, ValueError.",
    ),
)

VALUES = (
    mistake(
        "other axis",
        "per channel instead of per token",
        "Each of your groups has several tokens in it, as for the keys. But a value that comes alone then has nobody "
        "to share a scale with, and has to wait. Whose numbers are all there the moment a token is written?",
        "KIVI: values per token, final at once.",
        turned,
    ),
    mistake(
        "all tokens",
        "one group for all channels",
        "Each of your tokens has one scale for all its channels. That is per token, and coarser than it has to be: how "
        "many channels are to share a scale?",
        "Groups of G channels: D/G scales a token.",
        turned,
    ),
    mistake(
        "all channels",
        "tokens that share a scale",
        "Your scale covers several tokens, so that the codes of an old token change when a louder one comes. What is "
        "written into a cache stays as it is: of whose numbers may a token's scale be made?",
        "A token's codes, scale and zero depend on that token alone.",
        turned,
    ),
    mistake(
        "dealt",
        "channels that are not neighbours in a group",
        "Your groups have G channels each, but not G in a row: the reshape dealt them out like cards. Of a tensor (T, "
        "D) the last axis becomes (D/G, G), in this order. Which of the two is the axis that has to disappear?",
        "A group is G channels beside each other: a kernel reads them with one scale.",
        turned,
    ),
    mistake(
        "transposed",
        "turned by a quarter",
        "The numbers are right, but they do not lie where they are looked for: V is (T, D), and its codes and scales "
        "follow. If you called the function of the keys on Vᵀ, what has to be turned back?",
        "The specification: codes (T, D), scale and zero (T, D/G).",
        turned,
    ),
    *common(turned),
    mistake(
        "ragged",
        "a group that is not full",
        "10 channels are two groups of 4, and 2 channels that belong to none. You gave them a group of their own, "
        "filled it up with zeros, or lost them. How many scales a token would the next function expect?",
        "Whole groups only: D % G is 0, or ValueError.",
        turned,
    ),
)
