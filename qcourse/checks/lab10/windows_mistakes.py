"""The known mistakes of 10.3: split with another count, or with another rest."""

from qcourse.checks.task import Mistake


def count(T: int, window: int, group_size: int) -> int:
    """How many are old, group by group."""
    n = 0
    while n + group_size <= T - window:
        n += group_size
    return n


def by(old, recent=lambda K, n, W, G: K[n:], swap=False):
    """split by another count of the old ones, or with another rest."""

    def wrong(K, window, group_size):
        n = old(len(K), window, group_size)
        both = K[:n], recent(K, n, window, group_size)
        return both[::-1] if swap else both

    return wrong


def from_the_left(K, window, group_size):
    """The first tokens in 16 bits."""
    n = count(len(K), window, group_size)
    return K[len(K) - n :], K[: len(K) - n]


def behind_the_window(K, window, group_size):
    """The window first, then whole groups, and a rest that goes to the window or is lost."""
    return K[window : window + count(len(K), window, group_size)], K[:window]


def minus_zero(K, window, group_size):
    """K[:-0] is nothing."""
    n = len(K[:-window]) // group_size * group_size
    return K[:n], K[n:]


def minus_zero_kept(K, window, group_size):
    """K[:-0] is nothing, K[-0:] everything."""
    older = K[:-window]
    n = len(older) // group_size * group_size
    return older[:n], K[-window:] if n == len(older) else K[n:]


def clipped(T: int, window: int, group_size: int) -> int:
    """At most as many as there are."""
    return min(max(T - window, 0), T)


def up(T: int, window: int, group_size: int) -> int:
    """Rounded up to whole groups."""
    return min(-(-clipped(T, window, group_size) // group_size) * group_size, T)


MISTAKES = (
    Mistake(
        "the window quantized, too",
        by(lambda T, W, G: T // G * G),
        "You quantize every group that is full, the newest tokens with the others. They are what the next tokens look "
        "at most. How many tokens may not be touched, however full their group is?",
        "The newest `window` tokens stay in 16 bits.",
        also=(by(lambda T, W, G: T), by(lambda T, W, G: T // (W or G) * (W or G))),
    ),
    Mistake(
        "a part of a group quantized",
        by(clipped),
        "Everything outside the window is old in your function, also a group that is not full yet. Its least and "
        "largest number are not known before its last token is there. What does it do until then?",
        "Keys are quantized by whole groups: the old part is a multiple of G.",
    ),
    Mistake(
        "one group too many",
        by(up),
        "Your last group reaches into the window. A group leaves only as a whole, and only when all of its tokens lie "
        "outside: does the rest round up or down?",
        "The newest `window` tokens stay in 16 bits.",
        also=(
            by(lambda T, W, G: min(clipped(T, W, G) // G * G + G, T)),
            by(up, lambda K, n, W, G: K[len(K) - W :]),
            by(up, lambda K, n, W, G: K[max(len(K) - W, 0) :]),
            by(lambda T, W, G: T // G * G if T > W else 0),
            by(lambda T, W, G: T // G * G if T >= W + G else 0),
        ),
    ),
    Mistake(
        "one group too few",
        by(lambda T, W, G: max(T - W - 1, 0) // G * G),
        "A group that is full and lies wholly outside the window still waits in your function, for one token more or "
        "for a group more. When exactly is its last token older than the window?",
        "A group leaves as soon as `window` tokens are newer than its last one.",
        also=(
            by(lambda T, W, G: max((T - W) // G * G - G, 0)),
            by(lambda T, W, G: max(T - W - 1, 0) // G * G if W else T // G * G),
        ),
    ),
    Mistake(
        "the window counted from the left",
        from_the_left,
        "You keep the *first* tokens in 16 bits. (Sinks are that, and a good idea of their own.) Which end of K is the "
        "newest, and which do the next tokens look at?",
        "K is in the order of time: the newest token is the last row.",
        also=(
            lambda K, W, G: (K[W:], K[:W]),
            behind_the_window,
            lambda K, W, G: (behind_the_window(K, W, G)[0], K[: len(K) - count(len(K), W, G)]),
        ),
    ),
    Mistake(
        "tokens lost in between",
        by(count, lambda K, n, W, G: K[max(len(K) - W, 0) :]),
        "Between your last whole group and the window there are tokens that you return nowhere: attention has "
        "forgotten them. What do they wait in until their group is full?",
        "Every token is in one of the two parts, and in one only.",
        also=(
            by(count, lambda K, n, W, G: K[-W:] if W else K[len(K) :]),
            by(lambda T, W, G: T // G * G - W if T // G * G > W else 0, lambda K, n, W, G: K[max(len(K) - W, 0) :]),
        ),
    ),
    Mistake(
        "a negative number of tokens",
        by(lambda T, W, G: (T - W) // G * G),
        "With fewer tokens than the window your count is below zero, and K[:−4] is not nothing: it is all but the last "
        "four. What is the least number of old tokens?",
        "The old part has 0 tokens until the window is full.",
        also=(
            by(lambda T, W, G: int((T - W) / G) * G),
            by(lambda T, W, G: T - W - (T - W) % G),
            by(lambda T, W, G: T - W),
        ),
    ),
    Mistake(
        "a window of 0 taken for everything",
        minus_zero,
        "You cut with K[:−window]. With a window of 0 that is K[:0], nothing at all (and K[−0:] is everything). From "
        "which end do you have to count, so that 0 is no special case?",
        "With window 0 every full group is old.",
        also=(
            minus_zero_kept,
            by(count, lambda K, n, W, G: K[n:] if W else K),
            by(count, lambda K, n, W, G: K[-W:] if n + W == len(K) else K[n:]),
            by(count, lambda K, n, W, G: K[-(len(K) - n) :]),
        ),
    ),
    Mistake(
        "the window counted in groups",
        by(lambda T, W, G: max(T // G - W, 0) * G),
        "You take `window` groups from the number of full groups, or round the window itself to whole groups. It is a "
        "number of tokens, and need not be a multiple of G. From what is it to be taken before anything is rounded?",
        "(T − window), then whole groups.",
        also=(
            by(lambda T, W, G: max(T // G - W // G, 0) * G),
            by(lambda T, W, G: max(T // G - -(-W // G), 0) * G),
        ),
    ),
    Mistake(
        "the two parts in the other order",
        by(count, swap=True),
        "Both parts are right, and come back in the other order. What does the specification promise first?",
        "The specification: (old, recent).",
    ),
)
