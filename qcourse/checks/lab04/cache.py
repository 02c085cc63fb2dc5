"""04.2, how many KV blocks fit beside the weights."""

import math

from qcourse.checks.draw import integer
from qcourse.checks.task import Mistake, Property, Task


def service(g, kv_bits: int, left: float = 0.0, blocks: int | None = None) -> tuple:
    """(budget, weights, config, kv_bits); `left`: the part of a block that remains over. A block has 1024 bytes or more."""
    heads = integer(g, 1, 4)
    config = {
        "num_hidden_layers": integer(g, 2, 8),
        "num_attention_heads": heads * integer(g, 2, 4),
        "num_key_value_heads": heads,
        "head_dim": 16 * integer(g, 1, 8),
    }
    weights, size = integer(g, 10_000, 3_000_000), int(block(config, kv_bits))
    return weights + (integer(g, 20, 300) if blocks is None else blocks) * size + int(size * left), weights, config, kv_bits


def block(config: dict, kv_bits: float, *, sides=2, heads="num_key_value_heads", tokens=16, byte=8, without="") -> float:
    """Bytes of a block; the keywords are what can be got wrong."""
    numbers = math.prod(config[k] for k in ("num_hidden_layers", heads, "head_dim") if k != without)
    return tokens * sides * numbers * kv_bits / byte


def whole(budget, weights, size) -> int:
    """Whole blocks that fit, at least 0."""
    return int(max(0, (budget - weights) // size))


def wrong(weigh=1, **how):
    """A mistake in the size of a block (or `weigh` 0: weights that cost nothing)."""
    return lambda budget, weights, config, kv_bits: whole(budget, weigh * weights, block(config, kv_bits, **how))


def always(bits: float):
    """The same width of a number, whatever kv_bits says."""
    return lambda budget, weights, config, kv_bits: whole(budget, weights, block(config, bits))


KV_BLOCKS = Task(
    id="04.2",
    function="kv_blocks",
    title="Room for users",
    points=2,
    expected=lambda budget, weights, config, kv_bits: whole(budget, weights, block(config, kv_bits)),
    properties=(
        Property("exactly full, 16 bits", lambda g: [service(g, 16, blocks=1), service(g, 16), service(g, 16)]),
        Property("a part of a block is left over", lambda g: [service(g, 16, 0.9, 3), service(g, 16, 0.3)]),
        Property("a cache of 8 and of 4 bits", lambda g: [service(g, 8, 0.7, 2), service(g, 8, 0.7), service(g, 4, 0.7)]),
        Property(
            "nothing fits: too little for a block, or even for the weights",
            lambda g: [service(g, 16), *(service(g, 8, left, 0) for left in (0.0, 0.9, -0.4, -1.5, -40.3))],
        ),
    ),
    mistakes=(
        Mistake(
            "only K or only V",
            wrong(sides=1),
            "You have twice as many blocks as there are. Attention compares with the keys and then reads the values: "
            "how many things does every token leave behind in every layer?",
            "Invariant 6: the KV cache holds K *and* V.",
        ),
        Mistake(
            "query heads instead of key/value heads",
            wrong(heads="num_attention_heads"),
            "Queries are used once and thrown away. In grouped-query attention several of them share one key/value "
            "head: which of the two head counts is about what is *kept*?",
            "Grouped-query attention exists to make the cache smaller.",
        ),
        Mistake(
            "the layers forgotten",
            wrong(without="num_hidden_layers"),
            "You counted what one layer keeps of a token. Every layer has its own keys and values: how many of them does "
            "one token leave behind on its way through the model?",
            "Invariant 6: K and V of every token, in every layer.",
        ),
        Mistake(
            "the heads forgotten",
            wrong(without="num_key_value_heads"),
            "You counted one key and one value a layer. `head_dim` is the width of *one* head: how many of them are kept?",
            "Invariant 6: K and V of every key/value head.",
            also=(wrong(without="head_dim"),),
        ),
        Mistake(
            "the width of a number forgotten",
            always(16),
            "Your answer does not depend on `kv_bits`. A cache in 4 bits holds four times as many tokens as one in 16. How "
            "many bytes does a number take, and who says so?",
            "Invariant 1: fewer bits a number, fewer bytes.",
            also=(always(8), always(32)),
        ),
        Mistake(
            "bits taken for bytes",
            wrong(byte=1),
            "Your blocks are eight times too large. The budget counts bytes; in which unit did you count the numbers?",
            "8 bits are a byte.",
        ),
        Mistake(
            "tokens instead of blocks",
            wrong(tokens=1),
            "That many *tokens* would fit. The engine hands out memory in blocks: how many tokens does one hold?",
            "A block is 16 tokens, whole or not there.",
        ),
        Mistake(
            "the weights not subtracted",
            wrong(weigh=0),
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
            "the block that fits exactly left out",
            lambda budget, weights, config, kv_bits: whole(budget - 1, weights, block(config, kv_bits)),
            "When the budget is full to the last byte, you have one block less than there is. Which of < and ≤ counts it?",
            "The budget may be used up.",
        ),
        Mistake(
            "less than nothing",
            lambda budget, weights, config, kv_bits: int((budget - weights) // block(config, kv_bits)),
            "A budget that the weights alone overflow gives a negative number of blocks in your function. How many "
            "blocks does such a machine have?",
            "The specification: 0 if the weights alone do not fit.",
            also=(lambda budget, weights, config, kv_bits: int((budget - weights) / block(config, kv_bits)),),
        ),
    ),
    hint="First the bytes of one token: layers, heads, numbers a head, and something that comes twice. Then of a "
    "block. Then ask how often it fits into what the weights leave.",
    returns=("blocks",),
)
