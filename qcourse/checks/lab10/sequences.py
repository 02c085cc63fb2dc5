"""10.4 sequences_that_fit(budget, config, context, num_bits, group_size, window) → how many sequences."""

from fractions import Fraction

from qcourse.checks.draw import integer
from qcourse.checks.lab10.sequences_mistakes import BLOCK, MISTAKES, bits, fit, numbers, whole_blocks
from qcourse.checks.task import Property, Task

expected = fit()


def service(g, context: int, num_bits: int, window: int = 0, users: int = 0, over: float = 0.5, G: int = 32) -> tuple:
    """Arguments with a budget for `users` sequences and a part of another."""
    heads = integer(g, 1, 4)
    config = {
        "num_hidden_layers": integer(g, 2, 8),
        "num_attention_heads": heads * integer(g, 2, 4),
        "num_key_value_heads": heads,
        "head_dim": 32 * integer(g, 1, 4),
    }
    group_size = None if num_bits == 16 else G
    one = numbers(config) * (whole_blocks(context) * BLOCK * bits(num_bits, group_size) + 16 * window) / 8
    return int(one * users) + int(one * Fraction(over)), config, context, num_bits, group_size, window


SEQUENCES_THAT_FIT = Task(
    id="10.4",
    function="sequences_that_fit",
    title="Users in a budget",
    points=4,
    expected=expected,
    properties=(
        Property(
            "16 bits, whole blocks", lambda g: [service(g, c, 16, users=n) for c, n in ((16, 5), (32, 7), (48, 20))], 2
        ),
        Property(
            "a context that does not fill its last block",
            lambda g: [service(g, c, 16, users=n, over=0.3) for c, n in ((17, 12), (25, 15), (9, 20), (40, 30))],
        ),
        Property(
            "4 and 2 bits, with the scale and zero of every group",
            lambda g: [service(g, c, B, users=n, G=G) for c, B, n, G in ((32, 4, 40, 32), (48, 2, 50, 32), (64, 4, 60, 16))],
        ),
        Property(
            "a window in 16 bits for every sequence",
            lambda g: [service(g, c, B, W, n) for c, B, W, n in ((64, 4, 32, 30), (100, 2, 32, 40), (144, 2, 128, 50))],
        ),
        Property("exactly full", lambda g: [service(g, 64, 4, 32, 9, 0.0), service(g, 20, 16, 0, 8, 0.0)]),
        Property("too little for one", lambda g: [service(g, 64, 4, 32, 0, 0.9), service(g, 20, 16, 0, 0, 0.6)], edge=True),
    ),
    mistakes=MISTAKES,
    hint="Three counts: the numbers that one token leaves behind, the bits of one of them (in 16 bits nothing is "
    "added), and the tokens that a sequence pays for, in its blocks and in its window. The rest is one division.",
    returns=("sequences",),
)
