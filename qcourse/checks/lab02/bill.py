"""02.2 bits_per_weight(K, num_bits, group_size, scale_bits, zero_bits) → what a weight really takes."""

from fractions import Fraction

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Task


def expected(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
    """All bits of one row, divided by its weights, exactly."""
    G = group_size or K
    return float(Fraction(K * num_bits + (K // G) * (scale_bits + zero_bits), K))


def groups(g):
    """The usual ones."""
    return [(4096, 4, 128), (512 * draw.integer(g, 1, 8), draw.integer(g, 2, 8), 2 ** draw.integer(g, 4, 7))]


def zeros(g):
    """With a zero point in every group."""
    return [(1024, 4, 32, 16, 4), (2048, draw.integer(g, 2, 3), 64, 16, draw.integer(g, 2, 4))]


def wide(g):
    """Scales of 32 and of 8 bits."""
    return [(768, 4, 16, 32, 0), (1280, 4, 16, 8, 0), (4096, 3, 8, 32, 8)]


def rows(g):
    """One scale for the whole row."""
    return [(256 * draw.integer(g, 1, 20), 8, None, 32, 0), (64, 4, None, 16, 4)]


def variant(each=lambda scale, zero, G, K: (scale + zero) / G):
    """bits_per_weight with another share of scale and zero point for each weight."""

    def wrong(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
        return num_bits + each(scale_bits, zero_bits, group_size or K, K)

    return wrong


BITS_PER_WEIGHT = Task(
    id="02.2",
    function="bits_per_weight",
    title="The bill, in bits",
    points=2,
    expected=expected,
    properties=(
        Property("groups", groups),
        Property("zero points", zeros),
        Property("wide and narrow scales", wide),
        Property("one scale a row", rows),
    ),
    mistakes=(
        Mistake(
            "the scales not counted",
            variant(lambda scale, zero, G, K: 0),
            "By your count G = 8 costs as much as G = 128. If that were so, why does not everybody give each weight a "
            "group of its own?",
            "Invariant 1: count what is read. 4 bits, G = 128, 16-bit scales: 4.125.",
            also=(variant(lambda scale, zero, G, K: zero / G),),
        ),
        Mistake(
            "no scale where there are no groups",
            lambda K, num_bits, group_size=None, scale_bits=16, zero_bits=0: (
                num_bits + (scale_bits + zero_bits) / group_size if group_size else num_bits
            ),
            "With groups your bill is right. Without them the row still has a scale: one, for all its K weights. What is "
            "each weight's share of it?",
            "Granularity: `None` is one scale a row, not none at all.",
        ),
        Mistake(
            "the zero points not counted",
            variant(lambda scale, zero, G, K: scale / G),
            "The scales are there. What else does a group store when its range is shifted, and how many bits has it?",
            "Invariant 1: asymmetric groups carry a scale and a zero point.",
        ),
        Mistake(
            "the scale charged to every weight",
            variant(lambda scale, zero, G, K: scale + zero),
            "Your 4-bit weight takes 20 bits, more than before it was quantized. How many weights split the cost of "
            "one scale?",
            "Granularity: one scale for G weights, a share of 1/G each.",
        ),
        Mistake(
            "bytes taken for bits",
            variant(lambda scale, zero, G, K: (scale + zero) / 8 / G),
            "Codes counted in bits, scales in bytes: the sum has no unit. In which one is the answer asked for?",
            "Units: 8 bits are one byte.",
            also=(variant(lambda scale, zero, G, K: scale / 8 / G + zero / G),),
        ),
        Mistake(
            "one scale a row, even in groups",
            variant(lambda scale, zero, G, K: (scale + zero) / K),
            "K weights split one scale in your sum, whatever group_size is. How many groups lie in one row?",
            "Granularity: K/G scales a row. Smaller groups cost more, and that is their price.",
        ),
        Mistake(
            "rounded to whole bits",
            variant(lambda scale, zero, G, K: (scale + zero) // G),
            "16 bits shared by 128 weights are 0.125 bits each, and `//` makes 0 of that. A layer has millions of "
            "weights: what does an eighth of a bit come to?",
            "A share may be a fraction: 4.125, not 4.",
        ),
    ),
    hint="Think of one group: G codes, one scale, perhaps one zero point. How many bits is that altogether, and how "
    "many weights share the bill? Without groups, the whole row is one.",
    rtol=1e-6,  # a few roundings of float32, should somebody count in it
    returns=("bits",),
)
