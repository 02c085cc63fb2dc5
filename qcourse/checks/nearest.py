"""Codes that are the same up to what is free: how an exact tie is rounded, and the scale of a block of zeros.

Free, because ½ lies as near to 0 as to 1, and because 0 is the code of 0 whatever its scale. Float division is exact to half
an ulp, and w·(1/s) to three: for |w/s| ≤ 255 that is 255 · 3 · 2⁻²⁴ < 5e-5 of a step, so a tie is meant up to TIE.
"""

import torch

from qcourse.checks.compare import difference
from qcourse.shapes import Tensor

TIE = 1e-4  # of a step
SCALE_RTOL = 1e-6  # one or two float32 roundings


def free_zeros(zero: Tensor, scale: Tensor, other: Tensor) -> Tensor:
    """`scale`, with the other's where `zero` marks a block of zeros and both are positive and finite."""
    if zero.shape != scale.shape:
        return scale
    usable = (scale > 0) & scale.isfinite() & (other > 0) & other.isfinite()
    return torch.where(zero & usable, other.to(scale.dtype), scale)


def scales(zero: Tensor, scale: Tensor, other: Tensor) -> str | None:
    """How two scales differ."""
    return difference(free_zeros(zero, scale, other), other, rtol=SCALE_RTOL, where="scale")


def codes(x: Tensor, got: Tensor, other: Tensor, grid: tuple[int, int] = (-128, 255)) -> str | None:
    """How two sets of codes differ, where x = w/s (+ z) is not a tie between two codes of the grid (lowest, highest)."""
    x, g, o = x.double(), got.double(), other.double()  # in their own dtype, 255 is -1 beside an int8
    tie = ((x - x.floor() - 0.5).abs() < TIE) & ((g - o).abs() == 1) & (g >= grid[0]) & (g <= grid[1])
    return difference(torch.where(tie, other, got), other, where="codes")
