"""08.6, the number of tokens at which 4-bit weights stop being faster."""

from qcourse.checks.draw import integer
from qcourse.checks.lab08.costs import case, seconds
from qcourse.checks.task import Mistake, Property, Task


def first(N, K, G, m, most, start: int = 1, stop: int = 1, lost=lambda bf16, int4: int4 >= bf16) -> int | None:
    """The smallest M from `start` on that is lost for int4."""
    return next((M for M in range(start, most + stop) if lost(*seconds(M, N, K, G, m))), None)


def crossing(g, unpack: float = 3.0, most: int | None = None, beyond: int = 0) -> tuple:
    """(N, K, G, machine, most); `most` None: exactly at the crossing, or `beyond` it.

    There is one between 2 and 489: one token is won (bytes decide, and int4 has fewer), and from where arithmetic decides
    bf16's time, int4 has the unpacking on top (`costs.machine`). `unpack` may make it earlier.
    """
    _, N, K, G, m = case(g, 1)
    m |= {"unpack": unpack * m["unpack"]}
    return N, K, G, m, most or first(N, K, G, m, 489) + beyond


def several(g) -> list[tuple]:
    """Crossings below `most`, on machines that unpack fast and slowly."""
    return [crossing(g, unpack, most) for unpack, most in ((1.0, 600), (3.0, 4000), (2.0, 700), (3.0, 1000))]


def tie(g) -> tuple:
    """int4 takes as long as bf16, to the last bit, for a whole tile of tokens, and is slower after it.

    N = K = 2ᵃ and flops / read = K/2 = F: per weight and read, bf16 takes 2 + 4 M/K = 2 + 2 M/F, and int4
    2 M/F + ⌈M/tile⌉ / U. Equal where ⌈M/tile⌉ = 2 U; all are powers of two, so that no order of operations rounds.
    """
    K, U, tile = 2 ** integer(g, 10, 12), 2 ** integer(g, 0, 2), 2 ** integer(g, 3, 5)
    read = 2.0 ** integer(g, 39, 42)
    return K, K, 2 ** integer(g, 5, 7), {"read": read, "flops": read * K / 2, "unpack": read * U, "tile": tile}, 300


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
        Property("a crossing between 1 and most", several, 2),
        Property("the crossing is at `most`, or just before it", lambda g: [crossing(g, beyond=i) for i in (0, 1, 0, 5)]),
        Property("as slow as bf16 is no longer faster", lambda g: [tie(g), tie(g), crossing(g, most=700)]),
        Property(
            "unpacking so slow that one token is lost", lambda g: [crossing(g, most=500), crossing(g, 0.002, 500), tie(g)]
        ),
        Property(
            "int4 faster up to `most`, or up to just below it",
            lambda g: [crossing(g), crossing(g, beyond=-1), crossing(g), crossing(g, beyond=-1)],
        ),
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
            "equal counted as faster",
            lambda N, K, group_size, machine, most: first(
                N, K, group_size, machine, most, lost=lambda bf16, int4: int4 > bf16
            ),
            "At your M, int4 is slower than bf16. A little earlier both take equally long: is int4 still faster then? "
            "Which of > and ≥ says so?",
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
