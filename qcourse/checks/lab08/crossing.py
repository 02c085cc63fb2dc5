"""08.6, the number of tokens at which 4-bit weights stop being faster."""

from qcourse.checks.lab08.costs import case, machine, seconds
from qcourse.checks.task import Mistake, Property, Task


def first(N, K, G, m, most, start: int = 1, stop: int = 1, lost=lambda bf16, int4: int4 >= bf16) -> int | None:
    """The smallest M from `start` on that is lost for int4."""
    return next((M for M in range(start, most + stop) if lost(*seconds(M, N, K, G, m))), None)


def crossing(g, unpack: float, most: int | None = None) -> tuple:
    """(N, K, G, machine, most); `most` None: exactly at the crossing."""
    _, N, K, G, m = case(g, 1)
    m = machine(g, unpack)
    return N, K, G, m, most or first(N, K, G, m, 100_000)


def never(g) -> list[tuple]:
    """`most` lies just below the crossing."""
    cases = [crossing(g, 3.0) for _ in range(2)]
    return [(*rest, max(1, most - 1)) if most > 1 else (*rest, 1) for *rest, most in cases]


def doubled(N, K, group_size, machine, most) -> int | None:
    """Only M = 1, 2, 4, 8 … tried."""
    tried = (2**i for i in range(most.bit_length()))
    return next((M for M in tried if first(N, K, group_size, machine, M, M) is not None), None)


def last_won(N, K, group_size, machine, most) -> int | None:
    """The last M at which int4 is still faster."""
    M = first(N, K, group_size, machine, most)
    return None if M is None else M - 1


CROSS_OVER = Task(
    id="08.6",
    function="cross_over",
    title="Where does 4-bit become slower?",
    points=3,
    expected=lambda N, K, group_size, machine, most: first(N, K, group_size, machine, most),
    properties=(
        Property("a crossing between 1 and most", lambda g: [crossing(g, 3.0, 4000) for _ in range(4)], 2),
        Property("the crossing is at `most`", lambda g: [crossing(g, 3.0) for _ in range(3)]),
        Property("unpacking so slow that one token is lost", lambda g: [crossing(g, 0.002, 500)]),
        Property("int4 faster at all of them", never),
    ),
    mistakes=(
        Mistake(
            "the last M that is won",
            last_won,
            "That is the last M at which int4 is faster. Asked for is the first at which it no longer is. How far "
            "apart are they?",
            "The specification: the smallest M with int4 ≥ bf16.",
        ),
        Mistake(
            "only powers of two tried",
            doubled,
            "You tried 1, 2, 4, 8 …, and the crossing lies between two of them. Which M have you not looked at?",
            "The specification: the smallest M, not the next power of two.",
        ),
        Mistake(
            "the other way round",
            lambda N, K, group_size, machine, most: first(
                N, K, group_size, machine, most, lost=lambda bf16, int4: int4 <= bf16
            ),
            "You return the first M at which int4 *wins*, which is usually 1. What is asked for is where it stops winning.",
            "The specification: the smallest M with int4 ≥ bf16.",
        ),
        Mistake(
            "most itself not tried",
            lambda N, K, group_size, machine, most: first(N, K, group_size, machine, most, stop=0),
            "Python's `range` ends before its end. Was `most` to be looked at?",
            "The specification: M in 1 … most, both included.",
        ),
        Mistake(
            "one token not tried",
            lambda N, K, group_size, machine, most: first(N, K, group_size, machine, most, start=2),
            "You begin at 2. There are machines, and kernels, on which int4 loses even for one token.",
            "The specification: M in 1 … most, both included.",
        ),
        Mistake(
            "most instead of None",
            lambda N, K, group_size, machine, most: first(N, K, group_size, machine, most) or most,
            "Your answer says that int4 stops being faster at `most`, and it does not: it is faster at all M that were "
            "asked about. Which answer says so?",
            "The specification: None, if int4 is faster at all of them.",
            also=(
                lambda N, K, group_size, machine, most: first(N, K, group_size, machine, most) or most + 1,
                lambda N, K, group_size, machine, most: first(N, K, group_size, machine, most) or 0,
                lambda N, K, group_size, machine, most: first(N, K, group_size, machine, most) or -1,
            ),
        ),
    ),
    hint="You have the two times for any M from task 08.5. Ask them for M = 1, 2, 3 …, and stop at the first that "
    "answers the question.",
    returns=("M",),
)
