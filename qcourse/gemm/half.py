"""16-bit weights: y = x @ W.T without widening W first.

A bf16 weight under fp32 activations is widened exactly, so torch can multiply it only after a copy of twice its size: per
call, more bytes than the product itself reads. For few tokens a loop reads the bf16 bits and widens them in registers: the
same products, summed in fp32, at the price of the bytes. For many tokens the copy is a small part, and BLAS wins.
"""

import torch
import torch.nn.functional as F

from qcourse.gemm import cpu_loops as loops
from qcourse.gemm.operand import FEW, bits, room, serves, tensor
from qcourse.gemm.threads import rows_in_threads
from qcourse.shapes import Float, Tensor


def half_matmul(
    x: Float[Tensor, "*lead K"], w: Float[Tensor, "N K"], bias: Tensor | None = None
) -> Float[Tensor, "*lead N"]:
    """y = x @ w.T + bias in x's dtype, for w in bf16 (or any dtype that torch multiplies).

    Few tokens on the CPU: fp32 sums of exact products (|error| ≤ K · 2⁻²⁴ · Σ|x·w|), y rounded once. Otherwise torch's own
    product, w in x's dtype. Raises what `F.linear` raises.
    """
    few = x.shape[:-1].numel() <= FEW and w.dtype == torch.bfloat16 and x.shape[-1:] == w.shape[1:]
    if few and serves(x, w):
        flat = x.reshape(-1, w.shape[1])
        weights, values, out = bits(w), bits(flat.float()), room((len(flat), len(w)), x.dtype)
        rows_in_threads(lambda a, b: loops.half_dots(weights, values, out, a, b), len(w), w.numel() * len(flat))
        y = tensor(out).view(*x.shape[:-1], len(w))
        return y if bias is None else y + bias
    return F.linear(x, w if w.dtype == x.dtype else w.to(x.dtype), bias)
