"""16-bit weights: y = x @ W.T without widening W first.

A bf16 weight under fp32 activations is widened exactly, so torch can multiply it only after a copy of twice its size: per
call, more bytes than the product itself reads. For few tokens a loop reads the bf16 bits and widens them in registers: the
same products, summed in fp32, at the price of the bytes. For many tokens the copy is a small part, and BLAS wins.
"""

from array import array

import torch
import torch.nn.functional as F

from qcourse.gemm.jit import loop
from qcourse.gemm.operand import FEW, KINDS, described, serves
from qcourse.gemm.threads import run
from qcourse.shapes import Float, Tensor


def half_matmul(
    x: Float[Tensor, "*lead K"], w: Float[Tensor, "N K"], bias: Tensor | None = None
) -> Float[Tensor, "*lead N"]:
    """y = x @ w.T + bias in x's dtype, for w in bf16 (or any dtype that torch multiplies).

    Few tokens on the CPU: fp32 sums of exact products (|error| ≤ K · 2⁻²⁴ · Σ|x·w|), y rounded once. Otherwise torch's own
    product, w in x's dtype. Raises what `F.linear` raises.
    """
    N, K = w.shape
    if w.dtype == torch.bfloat16 and x.numel() <= FEW * K and x.shape[-1] == K and serves(x, w):
        M, values, weights = x.numel() // K, x.contiguous(), w.contiguous()
        y = torch.empty((*x.shape[:-1], N), dtype=x.dtype)
        if M:
            a = array("q", (0, 0, *described(weights), *described(values, M, K), *described(y, M, N)))
            run(loop("dots", "half_dots", KINDS[x.dtype]), a, N, N * K * M)
        return y if bias is None else y + bias
    return F.linear(x, w if w.dtype == x.dtype else w.to(x.dtype), bias)
