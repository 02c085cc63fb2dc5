"""GPTQ in float64 with each of its decisions as a parameter: right by default, a known mistake with one of them changed.

A run also says whether it was clear: whether no decision would have been another one had its number been off by `apart`.
"""

from collections.abc import Callable

import numpy as np
import torch

from qcourse.shapes import Tensor

FLOAT32 = 1e-6  # of the largest |x|: what float32 may be off by after a dozen operations, in a run that grows without bound
ASIDE = np.array([[0.0], [-1.0], [1.0]])


def factor(H: np.ndarray) -> np.ndarray:
    """U with UᵀU = H⁻¹, upper triangular, from the inverse."""
    return np.linalg.cholesky(np.linalg.inv(H)).T


def over_diagonal(rows: np.ndarray) -> np.ndarray:
    """Each row divided by its element on the diagonal."""
    return rows / rows.diagonal()[:, None]


def repairs(H: np.ndarray, block: int) -> np.ndarray:
    """(K, K): what an error of 1 in column j takes from column k; left of the diagonal nothing is read."""
    return over_diagonal(factor(H))


def group(j: int, i: int, G: int, groups: int) -> int:
    """The group of column j, the i-th of its block."""
    return j // G


def steps(now: np.ndarray, first: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The repaired weight in steps of its scale."""
    return now / s


def error(now: np.ndarray, first: np.ndarray, q: np.ndarray, s: np.ndarray) -> np.ndarray:
    """What rounding has taken from the repaired weight."""
    return now - q * s


def kept(now: np.ndarray, before: np.ndarray, e: np.ndarray, q: np.ndarray, s: np.ndarray) -> np.ndarray:
    """What waits for the end of the block: the error. before: the column when its block began."""
    return e


def decided(x: np.ndarray, rounded: Callable, low: float, high: float, apart: float) -> tuple[np.ndarray, bool]:
    """The codes of x, and whether none of them would change with x off by `apart` (or float32's share of a huge |x|)."""
    if not apart:
        return np.minimum(np.maximum(rounded(x), low), high), True
    room = max(apart, FLOAT32 * float(np.abs(x).max()))
    here, below, above = np.minimum(np.maximum(rounded(x + room * ASIDE), low), high)
    return here, bool((below == above).all())


def run(
    W: np.ndarray,
    H: np.ndarray,
    scale: np.ndarray,
    block: int,
    limit: int,
    apart: float = 0.0,
    *,
    inside: Callable = repairs,
    beyond: Callable | None = None,
    group: Callable = group,
    steps: Callable = steps,
    rounded: Callable = np.rint,
    bounds: Callable = lambda limit: (-limit, limit),
    error: Callable = error,
    kept: Callable = kept,
    clipped_at_the_end: bool = False,
    leftover: bool = True,
) -> tuple[np.ndarray, bool]:
    """(codes (N, K), clear): column by column, what lies beyond the block once a block. float64 arrays in, int8 out."""
    N, K = W.shape
    first, W, codes, clear = W, W.copy(), np.zeros((N, K)), True
    near, far = inside(H, block), (beyond or inside)(H, block)
    for start in range(0, K if leftover else K // block * block, block):
        stop = min(start + block, K)
        before, waiting = W.copy(), np.zeros((N, stop - start))
        for j in range(start, stop):
            s = scale[:, group(j, j - start, K // scale.shape[1], scale.shape[1])]
            low, high = (-np.inf, np.inf) if clipped_at_the_end else bounds(limit)
            q, sure = decided(steps(W[:, j], first[:, j], s), rounded, low, high, apart)
            e = error(W[:, j], first[:, j], q, s)
            codes[:, j], clear = q, clear and sure
            waiting[:, j - start] = kept(W[:, j], before[:, j], e, q, s)
            W[:, j + 1 : stop] -= e[:, None] * near[j, j + 1 : stop]
        W[:, stop:] -= waiting @ far[start:stop, stop:]
    return as_int8(np.clip(codes, *bounds(limit))), clear


def as_int8(codes: np.ndarray) -> np.ndarray:
    """Whole numbers as bytes; those beyond wrap around."""
    return codes.astype(np.int64).astype(np.int8)


def across_rows(W, H, scale, block, limit, apart=0.0) -> tuple[np.ndarray, bool]:
    """The run of who takes rows for columns: each row is rounded at once, and the rows below it are repaired."""
    W, U, clear, codes = W.copy(), factor(H), True, np.zeros(W.shape)
    wide = scale.repeat(W.shape[1] // scale.shape[1], 1)
    for n in range(len(W)):
        codes[n], sure = decided(W[n] / wide[n], np.rint, -limit, limit, apart)
        e = (W[n] - codes[n] * wide[n]) / U[n, n]
        W[n + 1 :] -= np.outer(U[n, n + 1 : len(W)], e)
        clear = clear and sure
    return as_int8(codes), clear


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors as float64 arrays."""
    return [t.double().numpy() for t in tensors]


def by_columns(of: Callable) -> Callable:
    """A run as an answer to 06.5."""

    def gptq(W, H, scale, limit=7):
        return torch.from_numpy(of(*arrays(W, H, scale), W.shape[1], limit)[0])

    return gptq


def by_blocks(of: Callable) -> Callable:
    """A run as an answer to 06.6."""

    def gptq_blocks(W, H, scale, block, limit=7):
        return torch.from_numpy(of(*arrays(W, H, scale), block, limit)[0])

    return gptq_blocks
