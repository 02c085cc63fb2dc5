"""Asymmetric codes along K in fp64, for any axes before (N, K); and weights moved away from their ties.

float32 finds w · s / scale in fewer than eight operations, on factors s that are themselves off by 3e-6 at most (a mean of
32 tokens, a power, a root): below 15 steps that is less than 1e-4 of a step. No case has a tie within APART.
"""

import torch

from qcourse.shapes import Tensor

APART = 2e-4  # of a step


def steps(W: Tensor, group_size: int, num_bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Groups (…, N, K/G, G) in steps from zero; scale and exact zero point (…, N, K/G, 1)."""
    groups = W.double().unflatten(-1, (-1, group_size))
    low, high = (groups.amin(-1, keepdim=True)).clamp(max=0), groups.amax(-1, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**num_bits - 1)
    scale = scale.where(scale > 0, 1.0)
    return groups / scale, scale, -low / scale


def rounded(W: Tensor, group_size: int, num_bits: int) -> Tensor:
    """Ŵ, the shape of W, fp64."""
    x, scale, zero = steps(W, group_size, num_bits)
    zero = zero.round()
    lowest, highest = -zero, 2**num_bits - 1 - zero  # a code q stands for q − zero steps
    return (scale * x.round().minimum(highest).maximum(lowest)).flatten(-2)


def near(x: Tensor) -> Tensor:
    """Whether a number of steps is within APART of a tie."""
    return (x - x.floor() - 0.5).abs() < APART


def clear(W: Tensor, factors: Tensor, group_size: int, num_bits: int) -> Tensor:
    """W with single weights changed by some percent until neither a code nor a zero point of W · s is near a tie.

    factors (…, K): every s that will be tried.
    """
    for _ in range(100):
        moved = W.double() * factors.double().unsqueeze(-2)  # (…, N, K)
        x, _, zero = steps(moved, group_size, num_bits)
        lowest = torch.zeros_like(x, dtype=torch.bool).scatter(-1, x.argmin(-1, keepdim=True), near(zero))
        ties = (near(x) | lowest).flatten(-2).reshape(-1, *W.shape).any(0)
        if not ties.any():
            break
        W = torch.where(ties, W * 1.037, W)
    return W
