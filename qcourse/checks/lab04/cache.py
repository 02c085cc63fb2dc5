"""04.2, how many KV blocks fit beside the weights."""

import math

from qcourse.checks.draw import integer
from qcourse.checks.task import Mistake, Property, Task


def service(g, kv_bits: int, left: float | None = None) -> tuple:
    """(budget, weights, config, kv_bits); `left`: the part of a block that remains over."""
    heads = integer(g, 1, 4)
    config = {
        "num_hidden_layers": integer(g, 2, 8),
        "num_attention_heads": heads * integer(g, 2, 4),
        "num_key_value_heads": heads,
        "head_dim": 16 * integer(g, 1, 8),
    }
    weights, size = integer(g, 10_000, 3_000_000), block(config, kv_bits)
    return weights + integer(g, 20, 300) * size + int(size * (left or 0)), weights, config, kv_bits


def block(config: dict, kv_bits: int, *, sides=2, heads="num_key_value_heads", tokens=16, byte=8) -> float:
    """Bytes of a block; the keywords are what can be got wrong."""
    return tokens * sides * math.prod(config[k] for k in ("num_hidden_layers", heads, "head_dim")) * kv_bits / byte


def too_big(g) -> list[tuple]:
    """Weights that do not fit at all, by a little and by much."""
    cases = [service(g, 16), service(g, 8)]
    return [
        (weights - excess, weights, config, bits)
        for (_, weights, config, bits), excess in zip(cases, (1, 9000), strict=True)
    ]


def whole(budget, weights, size) -> int:
    """Whole blocks that fit, at least 0."""
    return int(max(0, (budget - weights) // size))


KV_BLOCKS = Task(
    id="04.2",
    function="kv_blocks",
    title="Room for users",
    points=2,
    expected=lambda budget, weights, config, kv_bits: whole(budget, weights, block(config, kv_bits)),
    properties=(
        Property("exactly full, 16 bits", lambda g: [service(g, 16), service(g, 16)]),
        Property("a part of a block is left over", lambda g: [service(g, 16, 0.9), service(g, 16, 0.3)]),
        Property("a cache of 8 and of 4 bits", lambda g: [service(g, 8, 0.7), service(g, 4, 0.7)]),
        Property("the weights alone do not fit", too_big),
    ),
    mistakes=(
        Mistake(
            "only K or only V",
            lambda budget, weights, config, kv_bits: whole(budget, weights, block(config, kv_bits, sides=1)),
            "You have twice as many blocks as there are. Attention compares with the keys and then reads the values: "
            "how many things does every token leave behind in every layer?",
            "Invariant 6: the KV cache holds K *and* V.",
        ),
        Mistake(
            "query heads instead of key/value heads",
            lambda budget, weights, config, kv_bits: whole(
                budget, weights, block(config, kv_bits, heads="num_attention_heads")
            ),
            "Queries are used once and thrown away. In grouped-query attention several of them share one key/value "
            "head: which of the two head counts is about what is *kept*?",
            "Grouped-query attention exists to make the cache smaller.",
        ),
        Mistake(
            "bits taken for bytes",
            lambda budget, weights, config, kv_bits: whole(budget, weights, block(config, kv_bits, byte=1)),
            "Your blocks are eight times too large. The budget counts bytes; in which unit did you count the numbers?",
            "8 bits are a byte.",
        ),
        Mistake(
            "tokens instead of blocks",
            lambda budget, weights, config, kv_bits: whole(budget, weights, block(config, kv_bits, tokens=1)),
            "That many *tokens* would fit. The engine hands out memory in blocks: how many tokens does one hold?",
            "A block is 16 tokens, whole or not there.",
        ),
        Mistake(
            "the weights not subtracted",
            lambda budget, weights, config, kv_bits: whole(budget, 0, block(config, kv_bits)),
            "The cache does not get the whole budget. What was in memory before the first user came?",
            "The budget holds weights and cache together.",
        ),
        Mistake(
            "a part of a block counted",
            lambda budget, weights, config, kv_bits: max(0, (budget - weights) / block(config, kv_bits)),
            "A part of a block, or one rounded up, is memory that is not there. What is left when the last whole block "
            "has been handed out is lost.",
            "A block is 16 tokens, whole or not there.",
            also=(
                lambda budget, weights, config, kv_bits: max(0, round((budget - weights) / block(config, kv_bits))),
                lambda budget, weights, config, kv_bits: max(0, math.ceil((budget - weights) / block(config, kv_bits))),
            ),
        ),
        Mistake(
            "less than nothing",
            lambda budget, weights, config, kv_bits: int((budget - weights) // block(config, kv_bits)),
            "A budget that the weights alone overflow gives a negative number of blocks in your function. How many "
            "blocks does such a machine have?",
            "The specification: 0 if the weights alone do not fit.",
        ),
    ),
    hint="First the bytes of one token: layers, heads, numbers a head, and something that comes twice. Then of a "
    "block. Then ask how often it fits into what the weights leave.",
    returns=("blocks",),
)
