"""01.4 memory_bytes(N, K, num_bits, group_size, scale_bits) → bytes of a quantized weight, scales included."""

from fractions import Fraction

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Task


def expected(N, K, num_bits=8, group_size=None, scale_bits=16):
    """Counted in whole numbers of bits, group by group."""
    groups = N if group_size is None else N * (K // group_size)
    return -(-(N * K * num_bits) // 8) + groups * scale_bits // 8


def channels(g):
    """One scale a row, 8 bits."""
    return [(8 * draw.integer(g, 1, 40), 8 * draw.integer(g, 1, 99), 8, None, bits) for bits in (16, 32)]


def groups(g):
    """One scale for each group along K, fewer bits."""
    return [
        (8 * draw.integer(g, 2, 40), G * draw.integer(g, 2, 20), bits, G, 16) for bits, G in ((4, 128), (4, 32), (2, 64))
    ]


def odd(g):
    """Codes that end within a byte."""
    return [(3, 5, 4, None, 16), (2 * draw.integer(g, 1, 9) + 1, 7, 3, 7, 32)]


def real(g):
    """Layers of a 7-billion model."""
    return [(4096, 4096, 4, 128, 16), (11008, 4096, 8, None, 32)]


def ratio(N, K, num_bits=8, group_size=None, scale_bits=16):
    """Everything as one exact fraction, rounded up once."""
    per_weight = num_bits + Fraction(scale_bits, group_size or K)
    return -(-(N * K * per_weight) // 8)


def all_bytes(n, bits):
    """n codes, packed densely."""
    return -(-n * bits // 8)


def all_scales(N, K, G):
    """How many there are."""
    return N if G is None else N * K // G


def variant(codes=all_bytes, count=all_scales, scale=lambda bits: bits // 8):
    """memory_bytes with one count changed."""

    def wrong(N, K, num_bits=8, group_size=None, scale_bits=16):
        return codes(N * K, num_bits) + count(N, K, group_size) * scale(scale_bits)

    return wrong


MEMORY_BYTES = Task(
    id="01.4",
    function="memory_bytes",
    title="What it weighs",
    points=3,
    expected=expected,
    properties=(
        Property("one scale a row, 8 bits", channels),
        Property("groups, fewer bits", groups, 2),
        Property("codes that do not fill their last byte", odd),
        Property("layers of a 7B model", real),
    ),
    mistakes=(
        Mistake(
            "the scales not counted",
            variant(scale=lambda bits: 0),
            "You counted the codes and nothing else. Can anybody turn them back into weights from what your file holds?",
            "Invariant 1: what is read counts, and the scales are read with the codes. 4 bits, G = 128, bf16 scales: 4.125.",
        ),
        Mistake(
            "one byte a code, whatever its bits",
            variant(codes=lambda n, bits: n),
            "At 8 bits this is right. How many 4-bit codes fit into a byte, and what would be gained by int4 if only "
            "one did?",
            "Invariant 1: B bits a code. An int4 kept in an int8 saves nothing over int8.",
        ),
        Mistake(
            "bits taken for bytes",
            lambda N, K, num_bits=8, group_size=None, scale_bits=16: 8 * ratio(N, K, num_bits, group_size, scale_bits),
            "The number is eight times too large. In which unit are num_bits and scale_bits given, and in which is the "
            "answer?",
            "Units: 8 bits are one byte.",
            also=(
                variant(codes=lambda n, bits: n * bits, scale=lambda bits: bits),
                variant(codes=lambda n, bits: n * bits),
                variant(scale=lambda bits: bits),
            ),
        ),
        Mistake(
            "the groups of one row only",
            variant(count=lambda N, K, G: N if G is None else K // G),
            "K / G is the number of groups in one row. How many rows does the matrix have, and do two rows share a scale?",
            "Granularity: N · K / G scales, as `granularity.scales` says.",
            also=(variant(count=lambda N, K, G: 1 if G is None else K // G),),
        ),
        Mistake(
            "one scale a row, even in groups",
            variant(count=lambda N, K, G: N),
            "You counted N scales although group_size is given. How many groups of G lie in one row of K weights?",
            "Granularity: N · K / G scales. Smaller groups cost more, and that is their price.",
        ),
        Mistake(
            "rounded down to whole bytes",
            variant(codes=lambda n, bits: n * bits // 8),
            "15 codes of 4 bits are seven and a half bytes. Where does your file keep the last code?",
            "Nothing is lost in packing: the last byte may be half empty, but it is there.",
        ),
        Mistake(
            "every row begins a new byte",
            lambda N, K, num_bits=8, group_size=None, scale_bits=16: (
                N * all_bytes(K, num_bits) + all_scales(N, K, group_size) * scale_bits // 8
            ),
            "You rounded each row up to whole bytes and added the rows. The matrix is packed densely, from the first code "
            "to the last: how many half-empty bytes are there then?",
            "Packed densely: only the last byte of all may be half empty.",
        ),
        Mistake(
            "scales always in 16 bits",
            variant(scale=lambda bits: 2),
            "Your scales take two bytes each, whatever scale_bits says. What does a file with float32 scales weigh?",
            "Invariant 1: count what is stored, in the dtype in which it is stored.",
            also=(variant(scale=lambda bits: 4),),
        ),
    ),
    hint="Two sums: the codes (N·K of them, num_bits each, the last byte may be half empty) and the scales. For the "
    "scales ask only how many there are: one for each row, or one for each group in each row?",
    returns=("bytes",),
)
