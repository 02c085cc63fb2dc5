"""12.5 straight_through(W, scale, limit, grad) → (Ŵ, the gradient of W): round on the way there, not on the way back."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab12.estimator_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

CLEAR = 0.02  # of a step: no w/s is this near to a tie, or to the range in which conventions differ (limit … limit + ½)
# Relative: two roundings of float32; W + (Ŵ − W), which some write, has |W| ≤ 4.5 |Ŵ| to lose.
RTOL = 2e-6


def nearest(W: Tensor, scale: Tensor, limit: int) -> Tensor:
    """The nearest number of the grid, found by looking at all of them; float64."""
    grid = torch.arange(-limit, limit + 1).double()
    place = ((W.double() / scale.double()).unsqueeze(-1) - grid).abs().argmin(-1)
    return grid[place] * scale.double()


def inside(W: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Where the gradient passes."""
    return (W.double() <= limit * scale.double()) & (W.double() >= -limit * scale.double())


def expected(W: Tensor, scale: Tensor, limit: int, grad: Tensor) -> tuple[Tensor, Tensor]:
    """By the grid itself."""
    return nearest(W, scale, limit).float(), torch.where(inside(W, scale, limit), grad, torch.zeros_like(grad))


def steps(g, N: int, K: int, limit: int) -> Tensor:
    """w/s (N, K), K ≥ 6, float64: in each row one beyond either end, one at either end, one at zero; all clear."""
    x = (2 * torch.rand(N, K, generator=g, dtype=torch.float64) - 1) * (limit - CLEAR)
    far = torch.rand(N, K, generator=g) < 0.15
    sign = torch.where(torch.rand(N, K, generator=g) < 0.5, -1.0, 1.0)
    outside = limit + 0.6 + (1.5 * limit + 1) * torch.rand(N, K, generator=g, dtype=torch.float64)
    x = torch.where(far, sign * outside, x)
    x[:, 0], x[:, 1] = outside[:, 0], -outside[:, 1]
    edge = limit - 0.42 + 0.35 * torch.rand(N, 2, generator=g, dtype=torch.float64)
    x[:, 2], x[:, 3] = edge[:, 0], -edge[:, 1]
    x[:, 4] = 0.1 + 0.3 * torch.rand(N, generator=g, dtype=torch.float64)
    tie = (x.abs() - x.abs().floor() - 0.5).abs() < CLEAR
    x = torch.where(tie, x + 2 * CLEAR * x.sign(), x)
    return x.gather(1, torch.rand(N, K, generator=g).argsort(1))


def layer(g, N: int, K: int, limit: int) -> tuple:
    """(W, scale, limit, grad): rows of small weights and rows of large ones, gradients of any size."""
    scale = torch.where(torch.arange(N) % 2 == draw.integer(g, 0, 1), 0.05, 4.0)
    scale = (scale * (0.7 + 0.6 * torch.rand(N, generator=g))).unsqueeze(1)
    W = (steps(g, N, K, limit) * scale).float()
    grad = draw.normal(g, N, K, size=4.0 * limit)
    grad = torch.where(grad.abs() < 0.1, 0.5, grad)
    grad[:, 0] = 3.0 * limit + torch.rand(N, generator=g)
    return W, scale, limit, grad


STRAIGHT_THROUGH = Task(
    id="12.5",
    function="straight_through",
    title="A gradient for a staircase",
    points=5,
    expected=expected,
    properties=(
        Property("3 bits: codes −3 … 3", lambda g: [layer(g, 2, 6, 3), layer(g, 4, 9, 3)], 2),
        Property("ternary: codes −1, 0, 1", lambda g: [layer(g, 3, 6, 1), layer(g, 6, 12, 1)], 2),
        Property("4 bits, several shapes", lambda g: [layer(g, 2, 16, 7), layer(g, 5, 8, 7)]),
    ),
    mistakes=MISTAKES,
    hint="Two separate answers. The first is fake quantization, as in lab 01: divide, round, clamp, multiply. For the "
    "second forget the rounding: what is the slope of a clamp inside its range, and what outside?",
    rtol=RTOL,
    returns=("W_hat", "grad_W"),
    seconds=60.0,  # the first `backward(grad)` of a process makes torch import sympy: seconds, under a profiler more
)
