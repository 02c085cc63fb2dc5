"""sequences_that_fit, exactly, and the known mistakes of 10.4: the same with one thing changed."""

import math
from fractions import Fraction

from qcourse.checks.task import Mistake

BLOCK = 16


def numbers(config: dict, sides: int = 2, heads: str = "num_key_value_heads", without: str = "") -> int:
    """How many numbers one token leaves behind."""
    return sides * math.prod(config[k] for k in ("num_hidden_layers", heads, "head_dim") if k != without)


def bits(num_bits: int, group_size: int | None, beside: int = 32) -> Fraction:
    """Bits of a number, with its share of a scale and a zero."""
    return Fraction(num_bits) if num_bits == 16 else num_bits + Fraction(beside, group_size)


def whole_blocks(context: int) -> int:
    """The last block may be half empty, but it is there."""
    return -(-context // BLOCK)


def fit(blocks=whole_blocks, width=bits, share=1, in_window=lambda num_bits, G: 16, budget_of=lambda b: b, end=int, **how):
    """sequences_that_fit, exactly, with one thing changed. `share`: of the window that every sequence pays."""

    def counted(budget, config, context, num_bits, group_size, window):
        many = numbers(config, **how)
        sequence = blocks(context) * BLOCK * many * width(num_bits, group_size)
        sequence += share * window * many * in_window(num_bits, group_size)
        return end(Fraction(8 * budget_of(budget)) / sequence)

    return counted


def once_for_all(budget, config, context, num_bits, group_size, window):
    """One window for all sequences together."""
    return fit(budget_of=lambda b: max(0, b - 2 * window * numbers(config)), share=0)(
        budget, config, context, num_bits, group_size, window
    )


def blocks_only(budget, config, context, num_bits, group_size, window):
    """Blocks instead of sequences."""
    return int(8 * budget // (BLOCK * numbers(config) * bits(num_bits, group_size)))


def tokens_only(budget, config, context, num_bits, group_size, window):
    """Tokens instead of sequences."""
    return int(8 * budget // (numbers(config) * bits(num_bits, group_size)))


def exactly(context: int) -> Fraction:
    """As many tokens as there are."""
    return Fraction(context, BLOCK)


MISTAKES = (
    Mistake(
        "only K or only V",
        fit(sides=1),
        "You have twice as many sequences as there are. Attention compares with the keys and then reads the values: "
        "how many things does a token leave behind in every layer?",
        "Invariant 6: the KV cache holds K *and* V.",
    ),
    Mistake(
        "query heads instead of key/value heads",
        fit(heads="num_attention_heads"),
        "Queries are used once and thrown away. In grouped-query attention several of them share one key/value head: "
        "which of the two head counts is about what is *kept*?",
        "Grouped-query attention exists to make the cache smaller.",
        also=(fit(without="num_hidden_layers"), fit(without="num_key_value_heads"), fit(without="head_dim")),
    ),
    Mistake(
        "tokens instead of blocks",
        fit(blocks=exactly),
        "You let a sequence take exactly its tokens. Memory is handed out in blocks of 16, and nobody else gets the "
        "rest of its last one. How many blocks does a context of 17 tokens take?",
        "A sequence owns whole blocks: ⌈context / 16⌉.",
    ),
    Mistake(
        "the last block of a sequence not counted",
        fit(blocks=lambda context: max(context // BLOCK, 1)),
        "context // 16 loses the tokens behind the last full block: they must lie somewhere. How many blocks does a "
        "context of 17 tokens take?",
        "A block may be half empty, but it is there: rounded *up*.",
        also=(
            fit(blocks=lambda context: max(round(context / BLOCK), 1)),
            fit(blocks=lambda context: Fraction(context // BLOCK) or exactly(context)),
        ),
    ),
    Mistake(
        "a block too many",
        fit(blocks=lambda context: context // BLOCK + 1),
        "A context of exactly 32 tokens takes three blocks in your function. What does ⌈ ⌉ do with a whole number?",
        "A sequence owns ⌈context / 16⌉ blocks.",
    ),
    Mistake(
        "scales and zeros not counted",
        fit(width=lambda num_bits, G: bits(num_bits, G, 0)),
        "You counted the codes alone; nobody can read them without what lies beside them. How many bits has a group of "
        "32 besides its codes, and how many is that a number?",
        "KIVI at 2 bits and G = 32 takes 3 bits a number, not 2.",
    ),
    Mistake(
        "the scales counted without the zeros",
        fit(width=lambda num_bits, G: bits(num_bits, G, 16)),
        "One 16-bit number a group is a scale. What else did 10.1 return, and in how many numbers?",
        "An asymmetric group keeps a scale and a zero: 32 bits.",
        also=(fit(width=lambda num_bits, G: bits(num_bits, G, 64)), fit(width=lambda num_bits, G: bits(num_bits, G, 24))),
    ),
    Mistake(
        "a scale and a zero for every number",
        fit(width=lambda num_bits, G: 16 if num_bits == 16 else num_bits + 32),
        "You added 32 bits to every number. The G numbers of a group share them: how many bits is that for each?",
        "Bits a number: B + 32/G.",
        also=(
            fit(width=lambda num_bits, G: 16 if num_bits == 16 else num_bits + 32 * G),
            fit(width=lambda num_bits, G: 16 if num_bits == 16 else num_bits + Fraction(G, 32)),
        ),
    ),
    Mistake(
        "the window forgotten",
        fit(share=0),
        "Your sequences keep no token in 16 bits. The window of 10.3 has to lie somewhere, too: beside the blocks, for "
        "every sequence. How many bytes has it?",
        "The residual costs 16 bits a number, however small the codes are.",
    ),
    Mistake(
        "one window for all sequences",
        once_for_all,
        "You took the window off the budget once. Do two users share their newest tokens?",
        "Every sequence has a window of its own.",
    ),
    Mistake(
        "the window in codes",
        fit(in_window=bits),
        "Your window is as small as if it were quantized. It is what is *not*: how many bits has a number in it?",
        "The window is in 16 bits.",
        also=(
            fit(in_window=lambda num_bits, G: num_bits),
            fit(in_window=lambda num_bits, G: 32),
            fit(in_window=lambda num_bits, G: 8),
        ),
    ),
    Mistake(
        "bits taken for bytes",
        fit(budget_of=lambda b: Fraction(b, 8)),
        "You have an eighth of the sequences that fit: the budget is in bytes. In which unit did you count a sequence?",
        "8 bits are a byte.",
        also=(fit(budget_of=lambda b: 8 * b), fit(budget_of=lambda b: Fraction(b, 2)), fit(budget_of=lambda b: 2 * b)),
    ),
    Mistake(
        "a part of a sequence counted",
        fit(end=float),
        "A part of a user, or one rounded up, is memory that is not there. What is left when the last whole sequence "
        "has been placed is lost to this question.",
        "A sequence fits, or it does not.",
        also=(fit(end=math.ceil), fit(end=round), fit(end=lambda x: math.ceil(x) - 1)),
    ),
    Mistake(
        "blocks or tokens counted instead of sequences",
        blocks_only,
        "So many blocks, or tokens, would fit. One sequence needs many of them, all at the same time. How many?",
        "The specification: sequences of `context` tokens.",
        also=(tokens_only,),
    ),
)
