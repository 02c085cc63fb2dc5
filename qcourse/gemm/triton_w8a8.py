"""Both operands in 8 bits on the GPU: the tensor core multiplies codes, the epilogue multiplies scales.

    int8   y[m, n] = (Σ_k x_q · w_q, exact in int32) · s_x[m] · s_w[n]
    fp8    y[m, n] = (Σ_k x_q · w_q, in fp32)        · s_x[m] · s_w[n]        E4M3, compute capability 8.9 or higher

One kernel for both: the dtype of the codes chooses the instruction. A scale may leave the sum only if it does not
depend on k: per tensor (one number, stride 0) or per token of x and per channel of w. Codes are plain rows, (M, K) and
(N, K): K is contiguous on both sides, which is the only order in which Hopper's 8-bit instruction reads its operands.
Hopper's FP8 tensor core keeps about 14 bits of a running sum, so sums leave it for fp32 registers after every step of BK
(DeepSeek-V3, arXiv:2412.19437, §3.3.2, does the same at 128). Speed: not measured yet.
"""

import torch
import triton
import triton.language as tl

from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.triton_launch import Launch, Tile, architecture, check_bias, jit, regime, tile_of
from qcourse.shapes import Float, Integer, Shaped, Tensor

# decode: bytes of w are everything. 64 rows fill one Hopper instruction and make N = 4096 into 64 programs without
#   splitting K; 256 codes a row are two whole 128-byte lines; four stages of 20 KB keep 60 KB a program in flight, which
#   hides 700 ns at 4.8 TB/s from 64 programs on.
# batch: 64 × 64 outputs, one warpgroup, still 64 programs at N = 4096.
# prefill: 128 × 128 outputs use each byte 128 times; 8 warps hold 64 sums a thread, twice where FP8 needs a second set.
#   Steps of 128 codes: one swizzled line a row, and FP8's step of exact addition. 3 stages of 32 KB: every device.
TILES = {
    "decode": Tile(BM=16, BN=64, BK=256, num_warps=4, num_stages=4),
    "batch": Tile(BM=64, BN=64, BK=128, num_warps=4, num_stages=4),
    "prefill": Tile(BM=128, BN=128, BK=128, num_warps=8, num_stages=3),
}


@jit
def w8a8_kernel(
    x_ptr, w_ptr, sx_ptr, sw_ptr, bias_ptr, y_ptr, M, N, K, sx_stride, sw_stride,
    INTEGER: tl.constexpr, EVEN_K: tl.constexpr, HAS_BIAS: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """One tile (BN, BM) of y.T. Rows beyond M and N are read from the start again (never out of bounds) and not stored.

    w is the first operand: N, of which there is always enough, fills the 64 rows of Hopper's instruction, M its columns.
    """
    pid_m, pid_n = tile_of(M, N, BM, BN, 8)
    m, n, k = pid_m * BM + tl.arange(0, BM), pid_n * BN + tl.arange(0, BN), tl.arange(0, BK)
    x_pointers = x_ptr + (m % M).to(tl.int64)[:, None] * K + k[None, :]
    w_pointers = w_ptr + (n % N).to(tl.int64)[:, None] * K + k[None, :]
    total = tl.zeros((BN, BM), tl.int32 if INTEGER else tl.float32)
    for step in tl.range(0, tl.cdiv(K, BK)):
        if EVEN_K:
            x, w = tl.load(x_pointers), tl.load(w_pointers)
        else:
            inside = (k < K - step * BK)[None, :]
            x, w = tl.load(x_pointers, mask=inside, other=0.0), tl.load(w_pointers, mask=inside, other=0.0)
        if INTEGER:
            total = tl.dot(w, tl.trans(x), total, out_dtype=tl.int32)
        else:
            total = tl.dot(w, tl.trans(x), total, max_num_imprecise_acc=BK)
        x_pointers += BK
        w_pointers += BK
    in_m, in_n = m < M, n < N
    sx = tl.load(sx_ptr + m * sx_stride, mask=in_m, other=0.0)
    sw = tl.load(sw_ptr + n * sw_stride, mask=in_n, other=0.0)
    y = total.to(tl.float32) * sx[None, :] * sw[:, None]
    if HAS_BIAS:
        y += tl.load(bias_ptr + n, mask=in_n, other=0.0).to(tl.float32)[:, None]
    at = y_ptr + m.to(tl.int64)[None, :] * N + n[:, None]
    tl.store(at, y.to(y_ptr.dtype.element_ty), mask=in_m[None, :] & in_n[:, None])


def launch(M: int, N: int, K: int, integer: bool, bias: bool, arch: int) -> Launch:
    """Grid, compile-time constants and options for y (M, N)."""
    tile = TILES[regime(M)]
    constants = {
        "INTEGER": integer, "EVEN_K": K % tile.BK == 0, "HAS_BIAS": bias,
        "BM": tile.BM, "BN": tile.BN, "BK": tile.BK,
    }  # fmt: skip
    grid = (triton.cdiv(M, tile.BM) * triton.cdiv(N, tile.BN),)
    return Launch(grid, constants, tile.options((tile.BM + tile.BN) * tile.BK, arch))


def scales(scale: Tensor, rows: int, name: str) -> Tensor:
    """A scale as fp32 (rows or 1,). Raises ValueError for any other shape."""
    if scale.dim() != 2 or scale.shape[1] != 1 or scale.shape[0] not in (1, rows):
        raise ValueError(f"{name} of shape {tuple(scale.shape)}: ({rows}, 1), one a row, or (1, 1), one for all")
    return scale.float().expand(rows, 1).squeeze(1)


def w8a8(x: Tensor, w: Tensor, x_scale: Tensor, w_scale: Tensor, out_dtype: torch.dtype, bias: Tensor | None) -> Tensor:
    """Check and launch: what both doors do, with x and w already in their 8-bit dtype."""
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"x has K={x.shape[1]}, w has K={w.shape[1]}")
    if out_dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise TypeError(f"out_dtype={out_dtype}: bfloat16, float16 or float32")
    if len({t.device for t in (x, w, x_scale, w_scale)}) > 1:
        raise ValueError(f"codes on {x.device} and {w.device}, scales on {x_scale.device} and {w_scale.device}: one device")
    arch, _ = architecture(x, "W8A8")
    (M, K), N = x.shape, len(w)
    sx, sw = scales(x_scale, M, "x_scale"), scales(w_scale, N, "w_scale")
    x, w, bias = x.contiguous(), w.contiguous(), check_bias(bias, N, x.device)
    y = torch.empty(M, N, dtype=out_dtype, device=x.device)
    if M > 0:
        plan = launch(M, N, K, x.dtype == torch.int8, bias is not None, arch)
        with torch.cuda.device_of(x):
            w8a8_kernel[plan.grid](
                x, w, sx, sw, bias, y, M, N, K, sx.stride(0), sw.stride(0), **plan.constants, **plan.options
            )
    return y


def int8_w8a8_matmul(
    x_codes: Integer[Tensor, "M K"], w_codes: Integer[Tensor, "N K"],
    x_scale: Float[Tensor, "rows 1"], w_scale: Float[Tensor, "channels 1"],
    out_dtype: torch.dtype = torch.bfloat16, bias: Tensor | None = None,
) -> Float[Tensor, "M N"]:  # fmt: skip
    """y = (x_codes @ w_codes.T) · s_x · s_w + bias. int8 codes; the sum is exact, so only the epilogue rounds.

    Error: 3·2^-24·|y| in fp32 (int32 → fp32, two scales), then the rounding to `out_dtype`. Raises TypeError unless both
    are int8, ValueError for other shapes, devices, or a K at which int32 could overflow, KernelMismatch off CUDA.
    """
    if x_codes.dtype != torch.int8 or w_codes.dtype != torch.int8:
        raise TypeError(f"int8 codes expected, got {x_codes.dtype} and {w_codes.dtype}")
    if x_codes.shape[1] * 128 * 128 >= 2**31:
        raise ValueError(f"K={x_codes.shape[1]}: K products of int8 codes may overflow int32; K must be below 131072")
    return w8a8(x_codes, w_codes, x_scale, w_scale, out_dtype, bias)


def fp8_w8a8_matmul(
    x_codes: Shaped[Tensor, "M K"], w_codes: Shaped[Tensor, "N K"],
    x_scale: Float[Tensor, "rows 1"], w_scale: Float[Tensor, "channels 1"],
    out_dtype: torch.dtype = torch.bfloat16, bias: Tensor | None = None,
) -> Float[Tensor, "M N"]:  # fmt: skip
    """y = (x_codes @ w_codes.T) · s_x · s_w + bias of E4M3 bit patterns (uint8, or torch.float8_e4m3fn).

    Products are exact; error (K + 3)·2^-24·Σ|x||w| with fp32 sums, and up to 2^-13·Σ|x||w| more where the tensor core
    aligns a step's products to 14 bits (Hopper). Raises TypeError for other codes, ValueError for other shapes or
    devices, KernelMismatch off CUDA and below compute capability 8.9, where FP8 cannot be multiplied.
    """
    fp8 = (torch.uint8, torch.float8_e4m3fn)
    if x_codes.dtype not in fp8 or w_codes.dtype not in fp8:
        raise TypeError(f"E4M3 codes expected (uint8 or float8_e4m3fn), got {x_codes.dtype} and {w_codes.dtype}")
    arch, _ = architecture(x_codes, "fp8_w8a8_matmul")
    if arch < 89:
        raise KernelMismatch(
            f"compute capability {arch / 10}: FP8 tensor cores begin at 8.9; use int8_w8a8_matmul, or keep the weights in "
            "8 bits and multiply in 16 (w8a16_matmul)"
        )
    x, w = x_codes.view(torch.float8_e4m3fn), w_codes.view(torch.float8_e4m3fn)
    return w8a8(x, w, x_scale, w_scale, out_dtype, bias)
