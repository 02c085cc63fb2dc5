"""07.2 awq_scales(x, alpha) → s (K): mean |x|^α, at least 1e-4, centred."""

import numpy as np
import torch

from qcourse.checks import draw
from qcourse.checks.lab07.scales_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor


def sample(g, M: int, K: int, alpha: float, dead: tuple[int, ...] = (), faint: tuple[int, ...] = ()) -> tuple:
    """(x, α): loudnesses over two decades around 1; channel 0 holds one sign only. `dead`: all zero; `faint`: 1e-6."""
    x = torch.randn(M, K, generator=g)
    x += 0.3 * (x.mean(0).abs() < 0.1)  # whoever averages without magnitudes gets a number that float32 knows
    x *= 10 ** (2 * torch.rand(K, generator=g) - 1)
    x[:, 0] = -x[:, 0].abs()
    x[:, list(faint)] *= 1e-6
    x[:, list(dead)] = 0
    return x, alpha


def some(g, low: float = 0.2, high: float = 0.9, **how) -> tuple:
    """A sample of 5 to 24 tokens, α between two bounds, and not near a half."""
    alpha = draw.uniform(g, low, high)
    alpha += 0.06 * (abs(alpha - 0.5) < 0.05)
    return sample(g, draw.integer(g, 5, 24), draw.integer(g, 4, 20), alpha, **how)


def expected(x, alpha) -> Tensor:
    """In fp64, with NumPy."""
    m = np.abs(x.numpy().astype(np.float64)).sum(0) / len(x)
    t = np.maximum(m**alpha, 1e-4)
    return torch.from_numpy(t / np.sqrt(t.max() * t.min()))


AWQ_SCALES = Task(
    id="07.2",
    function="awq_scales",
    title="AWQ's factors",
    points=3,
    expected=expected,
    properties=(
        Property(
            "α between the ends", lambda g: [sample(g, 6, 4, draw.uniform(g, 0.2, 0.4)), some(g, 0.6, 0.9), some(g)], 2
        ),
        Property("α = 0.5 and α = 1", lambda g: [some(g, 0.5, 0.5)[:1] + (0.5,), some(g)[:1] + (1.0,)]),
        Property("α = 0: nothing is moved", lambda g: [some(g)[:1] + (0.0,)], edge=True),
        Property("a dead channel", lambda g: [some(g, 0.3, 0.9, dead=(2,)), some(g, 0.3, 0.9, dead=(1, 3))]),
        Property(
            "a channel so faint that 1e-4 is more", lambda g: [some(g, 0.9, 1.0, faint=(1,)), sample(g, 8, 6, 1.0, (), (3,))]
        ),
    ),
    mistakes=MISTAKES,
    hint="Read the three formulas from left to right: a mean over the tokens, a power with a floor, a division by one "
    "number. Then ask what each does with a channel that is 0 for all tokens.",
    rtol=1e-5,  # means of at most 24 numbers, a power, a root: fewer than 40 roundings of 2⁻²⁴
    returns=("s",),
)
