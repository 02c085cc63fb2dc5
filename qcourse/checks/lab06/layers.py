"""Layers to be rounded, on which every decision of GPTQ is far from a tie, and of each known mistake far enough.

A code that flips changes everything to its right. So codes are compared exactly, and cases are drawn so that float32 finds
those of float64, whichever way it goes: H has a condition number of 40 and K is at most 32, so float32 finds U to about
32 · 40 · 2⁻²⁴ < 1e-4 of its size, and a weight in its turn to about 1e-3 of a step (seen on 200 seeds, by three ways:
3e-5). No decision of the right run is nearer to a tie than APART. A mistake's run is asked for less, MISTAKES_APART: there
a flip costs a hint.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from qcourse.checks import draw
from qcourse.checks.lab06 import runs
from qcourse.shapes import Float, Tensor

CONDITION = 40.0
APART = 0.01  # of a step
MISTAKES_APART = 4e-4
TRIES = 1000


def moments(g: torch.Generator, K: int, condition: float = CONDITION) -> Float[Tensor, "K K"]:
    """H (K, K), float32, as of correlated inputs: every channel with every other; eigenvalues 1 … condition times a size."""
    Q = torch.linalg.qr(torch.randn(K, K, generator=g, dtype=torch.float64)).Q
    H = (Q * condition ** torch.linspace(0, 1, K, dtype=torch.float64)) @ Q.T
    return ((H + H.T) * draw.uniform(g, 0.05, 0.5)).float()


def weight(g: torch.Generator, N: int, K: int, groups: int, limit: int) -> tuple[Tensor, Tensor]:
    """(W, scale): rows and groups of different sizes, and scales so small that the loudest weights are clipped."""
    size = 0.3 + draw.uniform(g, 0.2, 1) * torch.rand(N, groups, 1, generator=g)
    W = torch.randn(N, groups, K // groups, generator=g) * size
    scale = W.abs().amax(-1) / limit * (0.7 + 0.25 * torch.rand(N, groups, generator=g))
    return W.flatten(1), scale


def moved(W: np.ndarray, H: np.ndarray, scale: np.ndarray, limit: int) -> np.ndarray:
    """W with each weight whose turn comes within 2·APART of a tie moved by 6·APART of a step, away from it."""
    rows, W, now = runs.repairs(H, 0), W.copy(), W.copy()
    for j in range(W.shape[1]):
        s = scale[:, j // (W.shape[1] // scale.shape[1])]
        x = now[:, j] / s
        tie = np.floor(x) + 0.5
        near = (np.abs(x - tie) < 2 * APART) & (np.abs(tie) < limit)
        away = np.where(near, np.where(x < tie, -1, 1) * 6 * APART * s, 0)
        W[:, j] += away
        now[:, j] += away
        e = now[:, j] - np.clip(np.rint(now[:, j] / s), -limit, limit) * s
        now[:, j + 1 :] -= np.outer(e, rows[j, j + 1 :])
    return W


def layer(
    g, N: int, K: int, groups: int, limit: int = 7, block: int = 0, wrong: Sequence = (), apart: bool = False
) -> tuple:
    """(W, H, scale), drawn until the right run is clear by APART and those in `wrong` (a tuple of runs a mistake) are by
    MISTAKES_APART; if `apart`, until no two mistakes give the same codes. Raises RuntimeError after TRIES."""
    for _ in range(TRIES):
        H = moments(g, K)
        W, scale = weight(g, N, K, groups, limit)
        W = torch.from_numpy(moved(*runs.arrays(W, H, scale), limit)).float()
        given = (*runs.arrays(W, H, scale), block or K, limit)
        right, clear = runs.run(*given, APART)
        seen = told(given, wrong) if clear else None
        if seen is not None and not (apart and agree(right.tobytes(), seen)):
            return W, H, scale
    raise RuntimeError(f"no layer of {N} × {K} in {TRIES} tries")


def told(given: tuple, wrong: Sequence) -> list[set[bytes]] | None:
    """The codes of each mistake, by any of its runs; None if one of them is not clear. A run that raises gives none."""
    every = []
    for mistake in wrong:
        every.append(set())
        for of in mistake:
            try:
                codes, clear = of(*given, MISTAKES_APART)
            except IndexError:
                continue
            if not clear:
                return None
            every[-1].add(codes.tobytes())
    return every


def agree(right: bytes, seen: list[set[bytes]]) -> bool:
    """Whether a mistake gives the right codes, or two give the same; a mistake that knows only one grid may."""
    return sum(map(len, seen)) + 1 > len(set.union({right}, *seen))


def changed(**decisions) -> partial:
    """A run with some of its decisions changed."""
    return partial(runs.run, **decisions)
