"""The steps of `step_loops` on tensors, where they can serve: few tokens, on the CPU, no gradient wanted, numba installed.

norm(x, weight, eps)                       → y, or None
attend(q, k, v, cos, sin, keys, values, past) → y, or None
"""

from qcourse.gemm import step_loops as loops
from qcourse.gemm.operand import FEW, bits, room, serves, tensor
from qcourse.shapes import Float, Tensor


def norm(x: Float[Tensor, "*lead K"], weight: Float[Tensor, "K"], eps: float) -> Float[Tensor, "*lead K"] | None:
    """x / rms(x) · weight in x's dtype, for at most FEW tokens; None where the loop cannot serve."""
    K = len(weight)
    if x.numel() > FEW * K or not serves(x, weight):
        return None
    flat = bits(x.reshape(-1, K))
    out = room(flat.shape, x.dtype)
    loops.rms_norm(flat, bits(weight), eps, out, 0, len(flat))
    return tensor(out).view(x.shape)


def attend(
    q: Float[Tensor, "B heads T D"], k: Float[Tensor, "B kv T D"], v: Float[Tensor, "B kv T D"],
    cos: Float[Tensor, "T D"], sin: Float[Tensor, "T D"],
    keys: Float[Tensor, "B kv max_len D"], values: Float[Tensor, "B kv max_len D"], past: int,
) -> Float[Tensor, "B heads T D"] | None:  # fmt: skip
    """One position of one sequence: turns q and k, writes k and v at `past` into keys and values, and gathers
    positions 0 … past. None, and nothing written, where the loop cannot serve."""
    if q.shape[0] != 1 or q.shape[2] != 1 or not keys.is_contiguous() or keys.dtype != q.dtype:
        return None
    if not serves(q, k, v, cos, keys, values):
        return None
    out = room((q.shape[1], q.shape[3]), q.dtype)
    new = (bits(t[0, :, 0]) for t in (q, k, v))
    loops.attend_one(*new, bits(cos[0]), bits(sin[0]), bits(keys[0]), bits(values[0]), past, out, 0, k.shape[1])
    return tensor(out).view(q.shape)
