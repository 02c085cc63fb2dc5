"""09.1 int3_slots(N, K, group_size) → {name: (shape, dtype)}: the tensors that a layer waits for."""

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab09.slots_mistakes import MISTAKES
from qcourse.checks.task import Property, Refuse, Task


def expected(N: int, K: int, group_size: int) -> dict:
    """Eight codes are three bytes."""
    if K % group_size:
        raise Refuse(f"group_size={group_size} does not divide K={K}")
    if K % 8:
        raise Refuse(f"K={K} codes of 3 bits are {3 * K} bits: no whole number of bytes")
    return {"qweight": ((N, K // 8 * 3), "uint8"), "scale": ((N, K // group_size), "bfloat16")}


def floats(value) -> list[bool]:
    """Which of the numbers in a nest of tuples and dicts are floats."""
    if isinstance(value, tuple | dict):
        return [found for v in (value.values() if isinstance(value, dict) else value) for found in floats(v)]
    return [type(value) is float]


def same(args, got, other) -> str | None:
    """Equal, and whole numbers where the other has them: no tensor has 24.0 columns."""
    found = difference(got, other, where="slots")
    if found is None and floats(got) != floats(other):
        return f"slots: {got}: a shape consists of ints, and one of these is a float"
    return found


def usual(g) -> tuple:
    """(N, K, G): N and K are different multiples of G, and K of 32: whoever takes one for the other meets no fraction."""
    G = 32 * draw.integer(g, 1, 4)
    n = draw.integer(g, 2, 9)
    return G * n, G * (n + draw.integer(g, 1, 9)), G


def narrow(g) -> tuple:
    """Groups that end within a byte, in rows that do not; N is odd."""
    G = 4 * draw.integer(g, 1, 7)
    return 2 * draw.integer(g, 4, 40) + 1, 2 * G * draw.integer(g, 2, 9), G


def ragged(g) -> tuple:
    """Whole bytes, and a last group that is too short."""
    G = 16 * draw.integer(g, 2, 8)
    return draw.integer(g, 5, 90), G * draw.integer(g, 1, 9) + 8 * draw.integer(g, 1, G // 8 - 1), G


def open_byte(g, G: int) -> tuple:
    """Whole groups, of which an odd number does not end with a byte."""
    return draw.integer(g, 5, 90), G * (2 * draw.integer(g, 1, 9) + 1), G


INT3_SLOTS = Task(
    id="09.1",
    function="int3_slots",
    title="What a layer waits for",
    points=3,
    expected=expected,
    properties=(
        Property("groups of 32 to 128", lambda g: [usual(g), usual(g), usual(g)], 2),
        Property("an odd N, other groups", lambda g: [narrow(g), narrow(g), narrow(g)]),
        Property("groups that do not divide K are refused", lambda g: [ragged(g), ragged(g), (7, 64, 128)]),
        Property("bits that fill no byte are refused", lambda g: [open_byte(g, G) for G in (4, 12, 10, 7)]),
    ),
    mistakes=MISTAKES,
    hint="`create_weights` is called before anything is read, so all it has are sizes. How many bits has one row of codes, "
    "and how many of those does a byte hold? How many groups has that row? Both numbers have to be whole.",
    same=same,
    returns=("slots",),
)
