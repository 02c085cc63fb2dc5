"""The steps of `step_loops` on tensors, where they can serve: few tokens, on the CPU, no gradient wanted, numba installed.

norm(x, weight, eps)                       → y, or None
swiglu(gate, up)                           → y, or None
attend(q, k, v, cos, sin, keys, values, past) → y, or None
"""

import struct
from array import array
from functools import lru_cache

import torch

from qcourse.gemm.jit import loop
from qcourse.gemm.operand import FEW, KINDS, described, serves
from qcourse.gemm.threads import run
from qcourse.shapes import Float, Tensor


def norm(x: Float[Tensor, "*lead K"], weight: Float[Tensor, "K"], eps: float) -> Float[Tensor, "*lead K"] | None:
    """x / rms(x) · weight in x's dtype, for at most FEW tokens; None where the loop cannot serve."""
    K = weight.shape[0]
    if x.numel() > FEW * K or not serves(x, weight):
        return None
    x, weight = x.contiguous(), weight.contiguous()
    M, y = x.numel() // K, torch.empty_like(x)
    a = (0, 1, *described(x, M, K), *described(weight, 1, K), *described(y, M, K), as_integer(eps))
    run(loop("step_loops", "norm", KINDS[x.dtype], KINDS[weight.dtype]), array("q", a), 1, 0)
    return y


def swiglu(gate: Float[Tensor, "*lead K"], up: Float[Tensor, "*lead K"]) -> Float[Tensor, "*lead K"] | None:
    """silu(gate) · up of one token, in its dtype; None where the loop cannot serve."""
    K = gate.shape[-1]
    if gate.numel() != K or up.shape != gate.shape or not serves(gate, up) or gate.dtype != up.dtype:
        return None
    gate, up, y = gate.contiguous(), up.contiguous(), torch.empty(gate.shape, dtype=gate.dtype)
    a = array("q", (0, 1, *described(gate, 1, K), *described(up, 1, K), *described(y, 1, K)))
    run(loop("step_loops", "swiglu", KINDS[gate.dtype]), a, 1, 0)
    return y


@lru_cache
def as_integer(value: float) -> int:
    """The bits of a double: how a task is given one."""
    return struct.unpack("q", struct.pack("d", value))[0]


def attend(
    q: Float[Tensor, "B heads T D"], k: Float[Tensor, "B kv T D"], v: Float[Tensor, "B kv T D"],
    cos: Float[Tensor, "T D"], sin: Float[Tensor, "T D"],
    keys: Float[Tensor, "B kv max_len D"], values: Float[Tensor, "B kv max_len D"], past: int,
) -> Float[Tensor, "B heads T D"] | None:  # fmt: skip
    """One position of one sequence: turns q and k, writes k and v at `past` into keys and values, and gathers
    positions 0 … past. None, and nothing written, where the loop cannot serve."""
    if q.shape[0] != 1 or q.shape[2] != 1 or not (keys.is_contiguous() and values.is_contiguous()) or keys.dtype != q.dtype:
        return None
    if not serves(q, k, v, cos, keys, values):
        return None
    (heads, D), kv_heads, y = q.shape[1::2], k.shape[1], torch.empty(q.shape, dtype=q.dtype)
    q, k, v, cos, sin = (t.contiguous() for t in (q, k, v, cos, sin))
    rows = kv_heads * keys.shape[2]
    shapes = ((q, heads), (k, kv_heads), (v, kv_heads), (cos, 1), (sin, 1), (y, heads), (keys, rows), (values, rows))
    a = array("q", (0, 1, *(n for t, rows in shapes for n in described(t, rows, D)), past))
    run(loop("step_loops", "attend", KINDS[q.dtype]), a, kv_heads, 2 * heads * D * past)
    return y
