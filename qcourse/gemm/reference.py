"""Dequantize, then multiply: slow, obvious, right on every device and for every layout."""

import torch.nn.functional as F

from qcourse.gemm.convert import dequantize_packed
from qcourse.packing.packed import PackedWeight
from qcourse.shapes import Float, Tensor


def reference(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias with Ŵ = s·(q - z) in x's dtype.

    Saves memory and no time: the whole Ŵ is written and read again for every call. Raises ValueError for a wrong
    K, TypeError for a non-floating x.
    """
    if not x.dtype.is_floating_point:
        raise TypeError(f"x is {x.dtype}: a floating dtype expected")
    if x.shape[-1] != p.shape[1]:
        raise ValueError(f"x has K={x.shape[-1]}, the weight (N, K) = {p.shape}")
    return F.linear(x, dequantize_packed(p).to(x.dtype), bias)
