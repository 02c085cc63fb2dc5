"""16-bit weights: y = x @ W.T without widening W first.

A bf16 weight under fp32 activations is widened exactly, so torch can multiply it only after a copy of twice its size: per
call, more bytes than the product itself reads. For few tokens a loop reads the bf16 bits and widens them in registers: the
same products, summed in fp32, at the price of the bytes. For many tokens the copy is a small part, and BLAS wins.
"""

import torch
import torch.nn.functional as F

from qcourse.gemm import cpu_loops as loops
from qcourse.gemm.jit import has_jit
from qcourse.gemm.operand import bits
from qcourse.gemm.threads import rows_in_threads
from qcourse.shapes import Float, Tensor

DTYPES = (torch.float32, torch.bfloat16)
FEW = 4  # tokens up to which the loop is the faster one, for both dtypes of x: benchmarks.gemm_cpu measures it


def half_matmul(
    x: Float[Tensor, "*lead K"], w: Float[Tensor, "N K"], bias: Tensor | None = None
) -> Float[Tensor, "*lead N"]:
    """y = x @ w.T + bias in x's dtype, for w in bf16 (or any dtype that torch multiplies).

    Few tokens on the CPU: fp32 sums of exact products (|error| ≤ K · 2⁻²⁴ · Σ|x·w|), y rounded once. Otherwise torch's own
    product, w in x's dtype. Raises what `F.linear` raises.
    """
    if x.shape[:-1].numel() <= FEW and w.dtype == torch.bfloat16 and x.dtype in DTYPES and here(x, w):
        flat = x.reshape(-1, w.shape[1])
        y = torch.empty(len(flat), len(w), dtype=x.dtype)
        weights, values, out = bits(w), flat.float().numpy(), bits(y)
        rows_in_threads(lambda a, b: loops.half_dots(weights, values, out, a, b), len(w), w.numel() * len(flat))
        y = y.view(*x.shape[:-1], len(w))
        return y if bias is None else y + bias
    return F.linear(x, w if w.dtype == x.dtype else w.to(x.dtype), bias)


def here(x: Tensor, w: Tensor) -> bool:
    """Whether the loop can serve: on the CPU, shapes that fit, no gradient wanted, numba installed."""
    grad = torch.is_grad_enabled() and (x.requires_grad or w.requires_grad)
    return not (grad or x.is_cuda or w.is_cuda) and x.shape[-1:] == w.shape[1:] and has_jit()
