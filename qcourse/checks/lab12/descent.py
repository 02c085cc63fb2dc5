"""12.6 train_step(x, y, W, scale, limit, lr) → the latent W after one step down, through a rounded forward pass."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab12.descent_mistakes import MISTAKES
from qcourse.checks.lab12.estimator import inside, nearest, steps
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

ROUNDING = 2.0**-24


def gradient(x: Tensor, y: Tensor, W: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Of mean((x Ŵᵀ − y)²) with respect to Ŵ, token by token, float64."""
    x, y, W_hat = x.double(), y.double(), nearest(W, scale, limit)
    total = torch.zeros_like(W_hat)
    for token, wanted in zip(x, y, strict=True):
        total += torch.outer((W_hat * token).sum(1) - wanted, token)
    return 2 * total / y.numel()


def expected(x: Tensor, y: Tensor, W: Tensor, scale: Tensor, limit: int, lr: float) -> Tensor:
    """W moves where it lies inside the grid."""
    step = lr * gradient(x, y, W, scale, limit)
    return torch.where(inside(W, scale, limit), W.double() - step, W.double()).float()


def bound(x: Tensor, y: Tensor, W: Tensor, scale: Tensor, limit: int) -> Tensor:
    """The sum of the magnitudes of all that the gradient adds up: what float32's rounding errors are in proportion to."""
    largest = x.double().abs() @ nearest(W, scale, limit).abs().T + y.double().abs()
    return 2 * largest.T @ x.double().abs() / y.numel()


def room(args: tuple, other: Tensor) -> Tensor:
    """How far float32 may be off in any order of summation: a rounding each of K, M and N terms and some, of `bound`.

    A wrong answer that moved further than the bound allows is rounded on its own scale.
    """
    x, y, W, scale, limit, lr = args
    largest = lr * bound(x, y, W, scale, limit)
    further = (other.double() - W.double()).abs().max() / largest.max()
    terms = x.shape[0] + x.shape[1] + y.shape[1] + 16
    return terms * ROUNDING * largest * (1 + further) + 4 * ROUNDING * torch.maximum(W.abs(), other.abs()).double()


def same(args, got, other):
    """Within `room`."""
    near = (got.double() - other.double()).abs() <= room(args, other)
    return difference(torch.where(near, other.double(), got.double()), other, where="W")


def layer(g, M: int, N: int, K: int, limit: int, size: float = 0.3) -> tuple:
    """(x, y, W, scale, limit, lr): the largest step is `size` of a step of the grid.

    Drawn until a clamped weight and a free one of each row would move a hundred times what rounding may hide.
    """
    while True:
        x, scale = draw.normal(g, M, K), 0.05 + 0.15 * torch.rand(N, 1, generator=g)
        W = (steps(g, N, K, limit) * scale).float()
        y = x @ (draw.normal(g, N, K) * scale * limit).T
        step = gradient(x, y, W, scale, limit)
        lr = float(f"{size * float(scale.min()) / float(step.abs().max()):.3g}")
        args = (x, y, W, scale, limit, lr)
        telling = (lr * step).abs() > 100 * room(args, expected(*args))
        free = inside(W, scale, limit)
        if (telling & free).any(1).all() and (telling & ~free).any(1).all():
            return args


TRAIN_STEP = Task(
    id="12.6",
    function="train_step",
    title="One step of training",
    points=5,
    expected=expected,
    properties=(
        Property("3 bits", lambda g: [layer(g, 4, 3, 6, 3), layer(g, 3, 5, 8, 3)], 2),
        Property("ternary", lambda g: [layer(g, 5, 3, 8, 1), layer(g, 7, 4, 12, 1)], 2),
        Property(
            "a step too small to change any code", lambda g: [layer(g, 4, 3, 6, 1, 0.015), layer(g, 9, 5, 16, 3, 0.015)]
        ),
    ),
    mistakes=MISTAKES,
    hint="Forward with Ŵ: what comes out, and what is it off by? The gradient of the mean of squares with respect to Ŵ is a "
    "product of that error and x. Send it through 12.5, and move W, not Ŵ.",
    returns=("W",),
    same=same,
    seconds=60.0,  # the first `backward(grad)` of a process makes torch import sympy: seconds, under a profiler more
)
