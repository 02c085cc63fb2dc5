"""Layers for 07.4: what each of many α leaves, and draws on which every known slip gives another answer.

No code is near a tie for any α that is tried, and the least error is smaller than all others by more than float32
could hide.
"""

import torch

from qcourse.checks import draw
from qcourse.checks.lab07.rounding import clear, rounded
from qcourse.shapes import Tensor

TWENTY = torch.arange(20, dtype=torch.float64) / 20
TRIED = torch.cat((torch.arange(21, dtype=torch.float64) / 20, torch.arange(20, dtype=torch.float64) / 19))
CLEAR = 1.01  # between the errors that a decision depends on; float32 finds them to 3e-3


def factors(x: Tensor, alphas: Tensor) -> Tensor:
    """AWQ's factors (A, K) of each α (A)."""
    t = (x.double().abs().mean(0) ** alphas.double()[:, None]).clamp(min=1e-4)
    return t / (t.amax(1, keepdim=True) * t.amin(1, keepdim=True)).sqrt()


def differences(x, W, group_size: int, num_bits: int, alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Ŵ − W (A, N, K) for each α, and the factors (A, K)."""
    s = factors(x, alphas)
    return rounded(W.double() * s[:, None], group_size, num_bits) / s[:, None] - W.double(), s


def output_errors(x, W, group_size: int, num_bits: int, alphas: Tensor) -> Tensor:
    """E (A) of each α."""
    d, _ = differences(x, W, group_size, num_bits, alphas)
    return (x.double() @ d.transpose(1, 2)).square().sum((1, 2))


def weight_errors(x, W, group_size: int, num_bits: int, alphas: Tensor, scaled: bool = False) -> Tensor:
    """Σ (Ŵ − W)² (A) of each α; `scaled`: of W · s as it was rounded."""
    d, s = differences(x, W, group_size, num_bits, alphas)
    return (d * s[:, None] if scaled else d).square().sum((1, 2))


def first_rise(errors: Tensor) -> int:
    """Where a walk from α = 0 stops that goes on as long as the error falls."""
    rising = (errors[1:] >= errors[:-1]).nonzero()
    return int(rising[0]) if len(rising) else len(errors) - 1


def apart(errors: Tensor) -> bool:
    """Whether the least is alone, and the largest too."""
    e = errors.sort().values
    return bool(e[1] > CLEAR * e[0] and e[-1] > CLEAR * e[-2])


def inside(E: Tensor, weights: Tensor) -> bool:
    """The best α is odd, not a half, not where the error first rises, and not the best for the weights."""
    E, best = E[:20], int(E[:20].argmin())
    walk = E[: first_rise(E) + 2]
    steady = bool(((walk[1:] / walk[:-1]).log().abs() > 0.005).all())
    return steady and best % 2 == 1 and best != first_rise(E) and best != int(weights[:20].argmin()) and best < 19


def at_the_end(E: Tensor, weights: Tensor) -> bool:
    """α = 1 would be better than all that are to be tried."""
    return bool(CLEAR * E[20] < E[:20].min())


def layer(g, wanted, M: int, N: int, K: int, group_size: int, num_bits: int) -> tuple:
    """(x, W, G, B) with loud channels in x, for which `wanted(E, errors of the weights)` holds."""
    while True:
        spread = draw.uniform(g, 0.3, 1.2)
        x = torch.randn(M, K, generator=g) * torch.exp(spread * torch.randn(K, generator=g))
        W = torch.randn(N, K, generator=g) * draw.uniform(g, 0.02, 0.5)
        if not holds(wanted, x, W, group_size, num_bits):
            continue
        W = clear(W, factors(x, TRIED), group_size, num_bits)
        if holds(wanted, x, W, group_size, num_bits):
            return x, W, group_size, num_bits


def holds(wanted, x, W, group_size: int, num_bits: int) -> bool:
    """Whether a layer is as wanted, and its least error alone."""
    E = output_errors(x, W, group_size, num_bits, TRIED)
    return apart(E[:20]) and wanted(E, weight_errors(x, W, group_size, num_bits, TRIED))


def equal(g, num_bits: int) -> tuple:
    """x holds only 1 and −1, so that s is 1 for every α, and all errors are equal, bit for bit.

    The weights are small whole numbers times a power of two: every product and sum is exact, in any order.
    """
    K, N, top = 16, draw.integer(g, 2, 5), 2**num_bits - 1
    x = 1.0 - 2.0 * torch.randint(0, 2, (draw.integer(g, 3, 8), K), generator=g)
    low = draw.integer(g, 1, top - 1)
    eighths = torch.randint(-8 * low, 8 * (top - low), (N, K // 8, 8), generator=g)
    eighths += (eighths % 8 == 4).int()  # no ties
    eighths[..., 0], eighths[..., 1] = -8 * low, 8 * (top - low)
    return x, eighths.flatten(1).float() * 2.0 ** draw.integer(g, -9, -5), 8, num_bits
