"""06.1 hessian(x, damp) → H (K, K): xᵀx over the tokens, damped."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab06.moment_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

ROOM = 2e-5  # of √(H_ii H_jj): |Σ x_i x_j| ≤ that by Cauchy and Schwarz, and float32 loses at most M · 2⁻²⁴ of it, M < 200


def tokens(g: torch.Generator, M: int, K: int, dead: tuple[int, ...] = ()) -> Tensor:
    """x (M, K): channels that have something in common, of different sizes, none of them centred; those in `dead` are 0."""
    common = torch.randn(M, 2, generator=g) @ torch.randn(2, K, generator=g)
    x = (torch.randn(M, K, generator=g) + 0.7 * common + 0.8) * (0.5 + torch.rand(K, generator=g))
    x[:, list(dead)] = 0
    return x * draw.uniform(g, 0.3, 3)


def same(args, got: Tensor, other: Tensor) -> str | None:
    """Within ROOM; and any positive number on the diagonal of a dead channel: no weight is repaired for it or by it."""
    dead = (args[0] == 0).all(0)
    if got.shape == (len(dead), len(dead)):
        free = torch.diag(dead & (got.diagonal() > 0) & got.diagonal().isfinite() & (other.diagonal() > 0))
        got = torch.where(free, other.to(got.dtype), got)
    size = other.double().diagonal().abs().sqrt()
    close = (got.double() - other.double()).abs() <= ROOM * (torch.outer(size, size) + other.double().abs())
    return difference(torch.where(close, other.double(), got.double()), other.double(), where="H")


def pair_by_pair(x, damp=0.01):
    """The mean of x_j x_k for every pair of channels, then the diagonal, channel by channel."""
    H = (x.double().unsqueeze(2) * x.double().unsqueeze(1)).mean(0)
    own = [h for h in H.diagonal().tolist() if h > 0]
    mean = sum(own) / len(own)
    for k, h in enumerate(H.diagonal().tolist()):
        H[k, k] = (h or mean) + damp * mean
    return H.float()


HESSIAN = Task(
    id="06.1",
    function="hessian",
    title="What the inputs have in common",
    points=3,
    expected=pair_by_pair,
    properties=(
        Property("few channels", lambda g: [(tokens(g, 5, 3), 0.1), (tokens(g, 24, 4), 0.03)], 2),
        Property("the damping left at 1 %", lambda g: [(tokens(g, 40, 6),)]),
        Property("fewer tokens than channels", lambda g: [(tokens(g, 4, 9), 0.05)]),
        Property("many tokens", lambda g: [(tokens(g, 120, 8), 0.02)]),
        Property("dead channels, with damping and without", lambda g: [(tokens(g, 30, 6, (1, 4)), d) for d in (0.05, 0.0)]),
    ),
    mistakes=MISTAKES,
    hint="One matrix product, in which the tokens are summed away, and a division by their number. Then only the diagonal "
    "changes: a share of its mean for all, and for a channel whose diagonal is 0 the mean, too.",
    returns=("H",),
    same=same,
)
