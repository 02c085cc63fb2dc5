"""10.2 quantize_values(V, num_bits, group_size) → codes uint8 (T, D), scale and zero (T, D/G): each token, G channels."""

from qcourse.checks.lab10.grouping import by_token, moving, refuse, right, same_by, still
from qcourse.checks.lab10.grouping_mistakes import VALUES
from qcourse.checks.task import Property, Task


def expected(V, num_bits, group_size) -> tuple:
    """Refused unless D is whole groups."""
    refuse(V.shape[1], group_size, "channels")
    return right(V, num_bits, group_size, by_token)


def values(g, T: int, groups: int, group_size: int, num_bits: int) -> tuple:
    """Values of so many groups a token."""
    return moving(g, groups * group_size, T, group_size, num_bits).T.contiguous(), num_bits, group_size


def flat(g) -> list[tuple]:
    """One token with channels that are all alike, and one with zeros."""
    return [(still(g, moving(g, 12, T, 4, bits), 4).T.contiguous(), bits, 4) for T, bits in ((4, 4), (8, 2))]


def ragged(g) -> list[tuple]:
    """The last group of every token is not full."""
    cases = ((8, 3, 4, 10, 4), (8, 3, 8, 17, 2), (4, 2, 4, 7, 4))
    return [(values(g, T, n, G, bits)[0][:, :D].contiguous(), bits, G) for T, n, G, D, bits in cases]


QUANTIZE_VALUES = Task(
    id="10.2",
    function="quantize_values",
    title="Values, token by token",
    points=3,
    expected=expected,
    properties=(
        Property("4 bits, as many tokens as channels", lambda g: [values(g, 8, 2, 4, 4), values(g, 12, 3, 4, 4)], 2),
        Property("one token alone", lambda g: [values(g, 1, 2, 4, 4), values(g, 1, 4, 8, 2)]),
        Property("3 bits, and 2", lambda g: [values(g, 8, 3, 8, 3), values(g, 16, 2, 16, 2), values(g, 5, 4, 8, 2)]),
        Property("8 bits, one group", lambda g: [values(g, 8, 1, 8, 8), values(g, 3, 1, 32, 8)]),
        Property("channels that are all alike", flat),
        Property("channels that are not whole groups are refused", ragged),
    ),
    mistakes=VALUES,
    hint="The same three lines as for the keys, along the other axis: (T, D) becomes (T, D/G, G). Or see that values "
    "by token are Vᵀ by channel, and let 10.1 do it: what has to be turned on the way in, and what on the way out?",
    returns=("codes", "scale", "zero"),
    same=same_by(by_token),
)
