"""10.1 quantize_keys(K, num_bits, group_size) → codes uint8 (T, D), scale and zero (T/G, D): each channel, G tokens."""

from qcourse.checks.lab10.grouping import by_channel, moving, refuse, right, same_by, still
from qcourse.checks.lab10.grouping_mistakes import KEYS
from qcourse.checks.task import Property, Task


def expected(K, num_bits, group_size) -> tuple:
    """Refused unless T is whole groups."""
    refuse(len(K), group_size, "tokens")
    return right(K, num_bits, group_size, by_channel)


def keys(g, groups: int, group_size: int, D: int, num_bits: int) -> tuple:
    """Keys of so many whole groups."""
    return moving(g, groups * group_size, D, group_size, num_bits), num_bits, group_size


def flat(g) -> list[tuple]:
    """One channel that does not move for a while, and one that is 0."""
    return [(still(g, moving(g, 12, D, 4, bits), 4), bits, 4) for D, bits in ((4, 4), (8, 2))]


def ragged(g) -> list[tuple]:
    """The last group is not full."""
    return [(moving(g, n * G, D, G, B)[:T], B, G) for n, G, D, B, T in ((3, 4, 8, 4, 10), (3, 8, 8, 2, 17), (2, 4, 4, 4, 7))]


QUANTIZE_KEYS = Task(
    id="10.1",
    function="quantize_keys",
    title="Keys, channel by channel",
    points=4,
    expected=expected,
    properties=(
        Property("4 bits, as many tokens as channels", lambda g: [keys(g, 2, 4, 8, 4), keys(g, 3, 4, 12, 4)], 2),
        Property("3 bits, and 2", lambda g: [keys(g, 3, 8, 8, 3), keys(g, 2, 16, 16, 2), keys(g, 4, 8, 6, 2)]),
        Property("8 bits, one group", lambda g: [keys(g, 1, 8, 8, 8), keys(g, 1, 32, 3, 8)]),
        Property("a channel that does not move", flat),
        Property("a last group that is not full is refused", ragged),
    ),
    mistakes=KEYS,
    hint="Give the G tokens of a group an axis of their own: (T, D) becomes (T/G, G, D). Which axis must disappear "
    "when you look for the least and the largest number? And what do you divide by where the two are equal?",
    returns=("codes", "scale", "zero"),
    same=same_by(by_channel),
)
