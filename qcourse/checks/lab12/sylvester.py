"""12.1 hadamard(n) → (n, n) float32: Sylvester's matrix of ±1, divided by √n."""

from qcourse.checks import draw
from qcourse.checks.lab12.sylvester_mistakes import MISTAKES, signs
from qcourse.checks.task import Property, Refuse, Task
from qcourse.shapes import Tensor

# Of an entry: at most one division by √2 a doubling, seven of them, each off by 2⁻²⁴ and √2 by as much.
RTOL = 1e-5


def expected(n: int) -> Tensor:
    """Entry (i, j) is negative where the binary numbers i and j have an odd number of ones in common."""
    if n & (n - 1):
        low = 1 << (n.bit_length() - 1)
        raise Refuse(f"n={n} is no power of two; the nearest are {low} and {2 * low}")
    return (signs(n).double() / n**0.5).float()


def others(g):
    """Sizes that are no power of two, odd ones and even ones, small ones first."""
    odd, even = 2 * draw.integer(g, 2, 30) + 1, 4 * (2 * draw.integer(g, 1, 14) + 1)
    return [(3,), (6,), (even,), (odd,)]


HADAMARD = Task(
    id="12.1",
    function="hadamard",
    title="A rotation made of signs",
    points=3,
    expected=expected,
    properties=(
        Property("n = 2, 4 and 8", lambda g: [(2,), (4,), (8,)], 2),
        Property("one channel, and many", lambda g: [(1,), (16,), (2 ** draw.integer(g, 5, 7),)]),
        Property("no power of two is refused", others),
    ),
    mistakes=MISTAKES,
    hint="Begin with the matrix of one number, 1. Each step lays four copies of what you have beside and below each other, "
    "one of them negative. Then ask how long a row has become, and make it 1 again.",
    rtol=RTOL,
    returns=("H",),
)
