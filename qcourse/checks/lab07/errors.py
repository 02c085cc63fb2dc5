"""07.3 scaled_error(x, W, s, group_size, num_bits) → the sum of the squared output errors."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab07.errors_mistakes import MISTAKES
from qcourse.checks.lab07.rounding import clear, rounded
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

# float32 sums 2K products an output, each off by K · 2⁻²⁴ of its size at most: `quiet` is a bound of what that does to E.
RTOL, QUIET = 3e-3, 1e-3


def factors(g, K: int) -> Tensor:
    """Between 1/4 and 4, none of them near 1."""
    s = 4.0 ** (0.1 + 0.9 * torch.rand(K, generator=g))
    return torch.where(torch.rand(K, generator=g) < 0.5, 1 / s, s)


def layer(g, M: int, N: int, K: int, group_size: int, num_bits: int) -> tuple:
    """(x, W, s, G, B) without ties, whose error is not lost in the rounding of float32. Some channels of x are loud."""
    while True:
        x = torch.randn(M, K, generator=g) * 10 ** (0.8 * torch.rand(K, generator=g))
        s = factors(g, K)
        W = clear(torch.randn(N, K, generator=g) * draw.uniform(g, 0.02, 0.5), s, group_size, num_bits)
        if noise(x, W, s, group_size, num_bits) < QUIET:
            return x, W, s, group_size, num_bits


def plain(g, M: int, N: int, K: int, group_size: int, num_bits: int) -> tuple:
    """A layer whose factors are all the same."""
    while True:
        x, W, *_ = layer(g, M, N, K, group_size, num_bits)
        s = torch.full((K,), 2.0 ** draw.integer(g, -2, 2))
        W = clear(W, s, group_size, num_bits)
        if noise(x, W, s, group_size, num_bits) < QUIET:
            return x, W, s, group_size, num_bits


def noise(x, W, s, group_size: int, num_bits: int) -> float:
    """Bound of float32's relative error of E: twice that of its root."""
    x, W, s = x.double(), W.double(), s.double()
    W_hat = rounded(W * s, group_size, num_bits) / s
    off = (2 * x.shape[1] + 8) * 2**-24 * (x.abs() @ (W.abs() + W_hat.abs()).T)
    return 2 * (off.norm() / (x @ (W_hat - W).T).norm()).item()


def expected(x, W, s, group_size, num_bits) -> float:
    """From the difference of the weights, so that nothing cancels."""
    d = rounded(W.double() * s.double(), group_size, num_bits) / s.double() - W.double()
    return torch.einsum("mk,nk->mn", x.double(), d).pow(2).sum().item()


SCALED_ERROR = Task(
    id="07.3",
    function="scaled_error",
    title="What a factor is worth",
    points=5,
    expected=expected,
    properties=(
        Property("as many outputs as inputs", lambda g: [layer(g, 3, 8, 8, 4, 4), layer(g, 5, 16, 16, 8, 3)], 2),
        Property("other shapes, 4 bits", lambda g: [layer(g, 6, 3, 16, 8, 4), layer(g, 4, 12, 32, 16, 4)]),
        Property("3 bits, and 2", lambda g: [layer(g, 5, 6, 24, 8, 3), layer(g, 7, 4, 32, 32, 2)]),
        Property("all factors equal: plain rounding", lambda g: [plain(g, 4, 6, 16, 8, 4), plain(g, 3, 5, 8, 8, 3)]),
    ),
    mistakes=MISTAKES,
    hint="Two products: the one that the layer should give, and the one that it gives when x / s meets the rounded W · s. "
    "The second would equal the first for every s, if nothing were rounded. What do you do with their difference?",
    rtol=RTOL,
    returns=("E",),
)
