"""The steps of `step_loops` on tensors, where they can serve: few tokens, on the CPU, no gradient wanted, numba installed.

norm(x, weight, eps)                       → y, or None
attend(q, k, v, cos, sin, keys, values, past) → y, or None
"""

import numpy as np
import torch

from qcourse.gemm import step_loops as loops
from qcourse.gemm.jit import has_jit
from qcourse.gemm.operand import bits
from qcourse.shapes import Float, Tensor

FEW = 4  # tokens
DTYPES = (torch.float32, torch.bfloat16)


def serves(x: Tensor, *others: Tensor) -> bool:
    """Whether the loops can take these tensors."""
    plain = all(
        t.dtype in DTYPES and not t.is_cuda and not (t.requires_grad and torch.is_grad_enabled()) for t in (x, *others)
    )
    return plain and has_jit()


def array(shape: tuple[int, ...], dtype: torch.dtype) -> np.ndarray:
    """Room for a result of fp32 or bf16."""
    return np.empty(shape, np.uint16 if dtype == torch.bfloat16 else np.float32)


def tensor(out: np.ndarray) -> Tensor:
    """What `array` gave room for, as a tensor."""
    y = torch.from_numpy(out)
    return y.view(torch.bfloat16) if out.dtype == np.uint16 else y


def norm(x: Float[Tensor, "*lead K"], weight: Float[Tensor, "K"], eps: float) -> Float[Tensor, "*lead K"] | None:
    """x / rms(x) · weight in x's dtype, for at most FEW tokens; None where the loop cannot serve."""
    K = len(weight)
    if x.numel() > FEW * K or not serves(x, weight):
        return None
    flat = bits(x.reshape(-1, K))
    out = array(flat.shape, x.dtype)
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
    out = array((q.shape[1], q.shape[3]), q.dtype)
    new = (bits(t[0, :, 0]) for t in (q, k, v))
    loops.attend_one(*new, bits(cos[0]), bits(sin[0]), bits(keys[0]), bits(values[0]), past, out, 0, k.shape[1])
    return tensor(out).view(q.shape)
