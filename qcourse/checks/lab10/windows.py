"""10.3 split(K, window, group_size) → (the oldest tokens, whole groups; the rest, at least `window` of them)."""

from qcourse.checks import draw
from qcourse.checks.lab10.windows_mistakes import MISTAKES, count
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor


def expected(K: Tensor, window: int, group_size: int) -> tuple[Tensor, Tensor]:
    """Token by token, in order."""
    n = count(len(K), window, group_size)
    return K[:n].clone(), K[n:].clone()


def tokens(g, window: int, group_size: int, groups: int, more: int) -> tuple:
    """(K, window, G): so many whole groups outside the window, and `more` tokens than these and the window."""
    return draw.normal(g, window + groups * group_size + more, draw.integer(g, 1, 3)), window, group_size


SPLIT = Task(
    id="10.3",
    function="split",
    title="The window",
    points=3,
    expected=expected,
    properties=(
        Property(
            "whole groups, a window, and some tokens between",
            lambda g: [tokens(g, 3, 4, 2, 2), tokens(g, 6, 4, 3, 1), tokens(g, 5, 8, draw.integer(g, 1, 3), 6)],
            2,
        ),
        Property("nothing between", lambda g: [tokens(g, 3, 4, 1, 0), tokens(g, 8, 4, 2, 0), tokens(g, 4, 8, 2, 0)]),
        Property("a token before a group leaves", lambda g: [tokens(g, 2, 4, 1, 3), tokens(g, 8, 8, 2, 7)]),
        Property("no window", lambda g: [tokens(g, 0, 4, 2, 0), tokens(g, 0, 4, 3, 2), tokens(g, 0, 8, 1, 5)]),
        Property(
            "fewer tokens than the window, or than it and a group",
            lambda g: [
                (draw.normal(g, T, 2), W, G) for T, W, G in ((10, 12, 4), (20, 30, 8), (8, 8, 8), (6, 4, 4), (5, 32, 4))
            ],
            edge=True,
        ),
    ),
    mistakes=MISTAKES,
    hint="First a number: how many tokens lie outside the window, how many whole groups are that, and can the number "
    "become negative? Then cut K there, once: what is not old is recent.",
    returns=("old", "recent"),
)
