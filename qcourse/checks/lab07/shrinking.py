"""07.5 shrink(e, beta, p): HQQ's generalised soft threshold."""

import math

import torch

from qcourse.checks import draw
from qcourse.checks.lab07.shrinking_mistakes import MISTAKES, threshold
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor


def errors(g, *shape: int, beta: float, p: float, zeros: int = 0, below: bool = False) -> tuple:
    """(e, β, p): magnitudes of 0.03 … 10 thresholds, none within 5 % of it, of both signs and on both sides of it.

    `zeros`: so many errors, beginning with the first, are exactly 0; `below`: all are below the threshold.
    """
    u = 2.5 * torch.rand(*shape, generator=g) - 1.5
    u.view(-1)[-4:] = torch.tensor([0.3, 0.6, -0.2, -0.5])  # whatever was drawn: two above, two below, of either sign
    u = torch.where(u.abs() < 0.022, 0.1, u)  # 10^0.022 = 1.05
    u = -u.abs() if below else u
    sign = torch.where(torch.rand(*shape, generator=g) < 0.5, -1.0, 1.0)
    sign.view(-1)[-4:] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    e = sign * threshold(beta, p) * 10**u
    e.view(-1)[:zeros] = 0
    return e, beta, p


def numbers(g, p: float | None = None) -> dict:
    """β so that the threshold lies between 0.02 and 0.4, and a p between 0.4 and 0.8."""
    p = draw.uniform(g, 0.4, 0.8) if p is None else p
    return {"beta": draw.uniform(g, 0.02, 0.4) ** (p - 2), "p": p}


def expected(e, beta, p) -> Tensor:
    """One number after the other."""

    def one(v: float) -> float:
        if abs(v) <= threshold(beta, p):
            return 0.0
        return math.copysign(abs(v) - abs(v) ** (p - 1) / beta, v)

    return torch.tensor([one(v) for v in e.flatten().tolist()], dtype=torch.float64).reshape(e.shape)


SHRINK = Task(
    id="07.5",
    function="shrink",
    title="Most errors small, a few large",
    points=4,
    expected=expected,
    properties=(
        Property(
            "errors on both sides of the threshold",
            lambda g: [errors(g, 8, **numbers(g)), errors(g, 24, **numbers(g)), errors(g, 40, **numbers(g, 0.7))],
            2,
        ),
        Property("any shape", lambda g: [errors(g, 3, 7, **numbers(g)), errors(g, 2, 3, 8, **numbers(g))]),
        Property("p = 1, the ordinary soft threshold", lambda g: [errors(g, 12, **numbers(g, 1.0))]),
        Property(
            "errors of exactly 0", lambda g: [errors(g, 9, zeros=3, **numbers(g)), errors(g, 9, zeros=2, **numbers(g, 1.0))]
        ),
        Property("nothing is above", lambda g: [errors(g, 12, below=True, **numbers(g))]),
    ),
    mistakes=MISTAKES,
    hint="Do it for |e| first: take |e|^(p−1)/β off, and let nothing fall below 0. The sign comes back at the end. Then ask "
    "what each of your steps makes of e = 0.",
    rtol=1e-4,  # 5 % above the threshold or more, where the rest is at least a twentieth of |e|: 20 · 8 · 2⁻²⁴
    returns=("shrunk",),
)
