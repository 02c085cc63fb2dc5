"""Both sides in 8 bits: the only kind of quantization that also speeds up the arithmetic (invariant 3).

    int8   y = (x_q · w_qᵀ in int32) · s_x · s_w      the sum is exact; scales come in afterwards
    fp8    y = (x_q · w_qᵀ in fp32)  · s_x · s_w      tensor cores multiply E4M3 directly

A scale can leave the sum only if it does not depend on k: one a token for x, one a channel for w.
"""

import torch

from qcourse.gemm.cpu import check_codes8, int8_dots
from qcourse.gemm.crossover import crossover
from qcourse.gemm.jit import has_jit
from qcourse.shapes import Float, Integer, Tensor, UInt8


def int8_matmul(x: Integer[Tensor, "M K"], w: Integer[Tensor, "N K"]) -> Integer[Tensor, "M N"]:
    """x @ w.T of int8 codes, accumulated in int32, exactly.

    Raises TypeError unless both are int8, ValueError for different K or a K at which int32 could overflow.
    On the CPU, few tokens take our own loop (`torch._int_mm` first reorders all of w there); else `torch._int_mm`, which
    on CUDA wants M > 16, so few tokens are padded.
    """
    check_codes8(x, w)
    M = len(x)
    if not x.is_cuda and 0 < M <= crossover()["w8a8"] and has_jit():
        return int8_dots(x, w)
    padded = torch.nn.functional.pad(x, (0, 0, 0, max(0, 17 - M))) if x.is_cuda else x
    return torch._int_mm(padded.contiguous(), w.T)[:M]


def has_scaled_mm(device: torch.device) -> bool:
    """FP8 tensor cores behind `torch._scaled_mm`: CUDA with compute capability 8.9 or higher."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def fp8_matmul(
    x: UInt8[Tensor, "M K"], w: UInt8[Tensor, "N K"], x_scale: Float[Tensor, "rows 1"], w_scale: Float[Tensor, "channels 1"]
) -> Float[Tensor, "M N"]:
    """(x · s_x) @ (w · s_w).T of E4M3 codes, in fp32 (bf16 on CUDA): `torch._scaled_mm` where the device has it.

    Scales are (M, 1) or (1, 1) for x and (N, 1) or (1, 1) for w. Elsewhere torch widens the codes to fp32 first: the same
    products, no speed.
    """
    if has_scaled_mm(x.device) and x.shape[1] % 16 == 0 and len(w) % 16 == 0:  # what the tensor cores take
        a, b = x.view(torch.float8_e4m3fn), w.view(torch.float8_e4m3fn).T
        rows, columns = x_scale.expand(len(x), 1).contiguous(), w_scale.expand(len(w), 1).T.contiguous()
        return torch._scaled_mm(a, b, rows, columns, out_dtype=torch.bfloat16)
    a, b = (codes.view(torch.float8_e4m3fn).float() for codes in (x, w))
    return (a @ b.T) * x_scale * w_scale.T
