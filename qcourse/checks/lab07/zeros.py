"""07.6 hqq_zero(W, scale, zero, beta, p, num_bits) → the zero points (N, K/G) after one half-quadratic step."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab07.shrinking_mistakes import threshold
from qcourse.checks.lab07.zeros_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

# In steps. float32 finds w/s + z, below 32 steps, to 32 · 4 · 2⁻²⁴ < 1e-5, and so the mean of the votes.
ATOL = 1e-4


def groups(g, shape: tuple, num_bits: int = 4, part: float = 0.2, beyond: float = 0.1, p: float | None = None) -> tuple:
    """Arguments without ties: w/s + z is within 0.45 of a whole number, and no |w − ŵ| within 5 % of the threshold.

    `part`: the threshold, in mean scales; `beyond`: the share of weights outside the codes, by 1 to 4 steps.
    """
    N, number, G = shape
    top = 2**num_bits - 1
    scale = 10 ** draw.uniform(g, -2, 0) * (0.7 + 0.6 * torch.rand(N, number, generator=g))
    zero = top * (0.25 + 0.5 * torch.rand(N, number, generator=g))
    codes = torch.randint(0, top + 1, shape, generator=g)
    out = torch.rand(shape, generator=g) < beyond
    out[0, 0, :2] = beyond > 0
    side = torch.where(torch.rand(N, number, 1, generator=g) < 0.7, 1, -1)  # a group's outliers lie on one side
    far = torch.randint(1, 5, shape, generator=g)
    codes = torch.where(out, torch.where(side > 0, top + far, -far), codes)
    rest = 0.9 * torch.rand(shape, generator=g) - 0.45
    p = draw.uniform(g, 0.4, 0.8) if p is None else p
    limit = part * scale.mean()  # in units of the weights
    away = torch.where(out, far * torch.sign(side) + rest, rest).abs() * scale.unsqueeze(-1)
    rest = torch.where((away / limit - 1).abs() < 0.06, 0.8 * rest, rest)
    W = scale.unsqueeze(-1) * (codes + rest - zero.unsqueeze(-1))
    return W, scale, zero, float(limit) ** (p - 2), p, num_bits


def expected(W, scale, zero, beta, p, num_bits) -> Tensor:
    """Group by group, as z plus a mean of corrections: q − (w − e)/s = z + (e − (w − ŵ))/s."""
    out = torch.empty(scale.shape, dtype=torch.float64)
    for n, k in ((n, k) for n in range(scale.shape[0]) for k in range(scale.shape[1])):
        s, z, votes = float(scale[n, k]), float(zero[n, k]), []
        for w in W[n, k].tolist():
            q = min(max(round(w / s + z), 0), 2**num_bits - 1)
            r = w - s * (q - z)
            inside = abs(r) <= threshold(beta, p)
            e = 0.0 if inside else (abs(r) - abs(r) ** (p - 1) / beta) * (1 if r > 0 else -1)
            votes.append((e - r) / s)
        out[n, k] = z + sum(votes) / len(votes)
    return out


def clear_of(which):
    """Cases of one property: shapes with more than one group and row, G apart from both."""
    return lambda g: [groups(g, shape, **which) for shape in ((1, 2, 4), (3, 2, 8), (4, 3, 16))]


HQQ_ZERO = Task(
    id="07.6",
    function="hqq_zero",
    title="One step of HQQ",
    points=5,
    expected=expected,
    properties=(
        Property("4 bits, some weights beyond the codes", clear_of({}), 2),
        Property("3 bits, and 2", lambda g: [groups(g, (2, 3, 8), 3), groups(g, (3, 2, 16), 2)]),
        Property("p = 1", clear_of({"p": 1.0})),
        Property("a threshold above all errors: least squares", clear_of({"part": 20.0, "beyond": 0.0})),
    ),
    mistakes=MISTAKES,
    hint="Four lines in the order of the formulas: the codes, what they stand for, what `shrink` takes over of the "
    "difference, and a mean over the group. `unsqueeze(-1)` lets (N, K/G) meet (N, K/G, G).",
    atol=ATOL,
    returns=("zero'",),
)
