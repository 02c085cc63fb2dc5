"""The CPU paths for packed weights: few tokens in integers (memory-bound), many tokens block by block through BLAS.

    int_dot   M small   x becomes int16 (one scale a block of 128), weights are unpacked in registers: one pass over the
                        packed bytes and nothing else. Near the machine's read bandwidth at M = 1.
    blocked   M large   each thread unpacks 128 rows into its own cache and hands them to BLAS: the whole Ŵ never exists
                        in memory, the matrix units do the work, and unpacking is a small part of it.

Where one overtakes the other is measured (`gemm.choose`). Both take layout "row", 4 or 8 bits.
"""

from functools import lru_cache

import numpy as np
import torch

from qcourse.gemm import cpu_loops as loops
from qcourse.gemm.jit import rows_in_threads
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.numerics.granularity import per_group
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.packed import PackedWeight, pack
from qcourse.shapes import Float, Integer, Tensor

LAYOUTS = ("row", "compressed-tensors")  # the same bytes: a word's first code lies lowest, and so does its first byte
REUSE = 3  # tokens up to which unpacking again for each is cheaper than keeping a row unpacked
ROWS = 128  # rows of Ŵ in a thread's cache: 128 · 4096 · 4 bytes = 2 MB
ZERO = {bits: np.array([[1 << (bits - 1)]], np.uint8) for bits in (4, 8)}  # of a symmetric format
dots4, decode4 = lru_cache(loops.dots4), lru_cache(loops.decode4)


def block_size(group: int) -> int | None:
    """Weights that share one activation scale: the largest of 128, 64, 32, 16 that divides G; None if none does."""
    return next((b for b in (128, 64, 32, 16) if group % b == 0), None)


def takes(args: QuantizationArgs) -> bool:
    """Whether these kernels know the format: 4-bit integers with one scale a row or G a multiple of 16, or 8-bit ones
    with one scale a row or G a multiple of 128."""
    if not isinstance(args.grid, IntGrid) or args.num_bits not in (4, 8):
        return False
    return args.group_size is None or args.group_size % (16 if args.num_bits == 4 else 128) == 0


def check(x: Tensor, p: PackedWeight) -> None:
    """Raise KernelMismatch for a weight or device that these kernels do not read, and ValueError/TypeError for x."""
    if x.device.type != "cpu" or p.data.device.type != "cpu":
        raise KernelMismatch(
            f"CPU kernel, but x is on {x.device} and the weight on {p.data.device}: load the model with the device "
            "it will run on (load_model(..., device=...)), so that its kernel is chosen there"
        )
    if p.layout not in LAYOUTS or not takes(p.args):
        raise KernelMismatch(f"layout {p.layout!r}, {p.args.grid}, G={p.args.group_size}: the CPU kernels do not read it")
    if not x.dtype.is_floating_point:
        raise TypeError(f"x is {x.dtype}: a floating dtype expected")
    if x.shape[-1] != p.shape[1]:
        raise ValueError(f"x has K={x.shape[-1]}, the weight (N, K) = {p.shape}")


def arrays(p: PackedWeight, block: int):
    """(w (N, blocks, bytes), scale and zero point of each block (N, blocks)) as NumPy sees them.

    Views, not copies, except for rows that end within a block, and for groups of several blocks (their scales repeat).
    """
    (N, K), num_bits = p.shape, p.args.num_bits
    w = p.data.contiguous().view(torch.uint8).numpy()
    blocks, size = -(-K // block), block * num_bits // 8
    if w.shape[1] != blocks * size:
        w = np.pad(w, ((0, 0), (0, max(0, blocks * size - w.shape[1]))))[:, : blocks * size]
    bf16 = p.scale.dtype == torch.bfloat16
    scale = (p.scale.contiguous().view(torch.uint16) if bf16 else p.scale.float()).numpy()
    zero = ZERO[num_bits] if p.zero_point is None else p.zero_point.contiguous().numpy()
    return w.reshape(N, blocks, size), each_block(scale, N, blocks), each_block(zero, N, blocks)


def each_block(values: np.ndarray, N: int, blocks: int) -> np.ndarray:
    """One value a group, a row or a tensor → one a block (N, blocks)."""
    if values.shape[1] not in (1, blocks):
        values = np.repeat(values, blocks // values.shape[1], axis=1)
    return np.broadcast_to(values, (N, blocks))


def split(x: Float[Tensor, "M K"], blocks: int, planes: int, each: int):
    """x → (codes (M, blocks, planes, each) int16, scale (M, blocks), Σ codes); see `loops.to_int16`."""
    codes = np.empty((len(x), blocks, planes, each), np.int16)
    scale, total = np.empty((len(x), blocks), np.float32), np.empty((len(x), blocks), np.int32)
    x = x.contiguous().view(torch.uint16) if x.dtype == torch.bfloat16 else x.float().contiguous()
    loops.to_int16(x.numpy(), codes, scale, total, 0, len(x))
    return codes, scale, total


def halves(x: Float[Tensor, "M K"], group: int):
    """x → (even and odd columns (2, M, K/2), Σ x of each group (M, groups)), fp32, for `loops.float4_dots`."""
    x = x.float()
    return x.unflatten(-1, (-1, 2)).permute(2, 0, 1).contiguous().numpy(), x.unflatten(-1, (-1, group)).sum(-1).numpy()


def finish(y: Float[Tensor, "M N"], x: Tensor, bias: Tensor | None) -> Float[Tensor, "*lead N"]:
    """y in x's shape and dtype, plus the bias."""
    y = y.view(*x.shape[:-1], y.shape[1]).to(x.dtype)
    return y if bias is None else y + bias


def int_dot(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias in integers, for few tokens.

    Error against exact arithmetic: Σ_blocks s · Σ|q - z| · max|x|/65534, plus fp32 rounding; below bf16's own rounding
    of x. A token that holds NaN or inf gives NaN. Raises what `check` raises. Notebook 08 §3.
    """
    check(x, p)
    (N, K), four = p.shape, p.args.num_bits == 4
    flat = x.reshape(-1, K)
    y = torch.empty(len(flat), N)
    result = y if x.dtype == torch.float32 else torch.empty(len(flat), N, dtype=x.dtype)
    if len(flat) and N:
        block, out = block_size(p.args.group_size or 128), y.numpy()
        w, scale, zero = arrays(p, block)
        if not four:
            loop, rest = loops.int8_dots, (*split(flat, w.shape[1], 1, block), out)
        elif block == 128 and len(flat) <= REUSE:
            loop, w, rest = loops.int4_dot, w.view(np.uint16), (*split(flat, w.shape[1], 4, 32), out)
        elif block >= 64:
            loop, rest = dots4(block // 2), (*split(flat, w.shape[1], 2, block // 2), out)
        else:
            loop, w, rest = loops.float4_dots, w.reshape(N, -1), (*halves(flat, p.args.group_size), out)

        def work(n0: int, n1: int) -> None:
            loop(w, scale, zero, *rest, n0, n1)
            if result is not y:
                with torch.inference_mode():  # a thread's own mode, whatever the caller's is
                    result[:, n0:n1] = y[:, n0:n1]

        rows_in_threads(work, N, len(flat) * N * K)
    return finish(result, x, bias)


def blocked(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias, for many tokens: unpack ROWS rows at a time, multiply them by BLAS in x's dtype.

    The same roundings as `reference` (Ŵ in x's dtype), in another order of summation. Raises what `check` raises.
    """
    check(x, p)
    (N, K), four = p.shape, p.args.num_bits == 4
    block = block_size(p.args.group_size or 128)
    w, scale, zero = arrays(p, block)
    blocks = w.shape[1]
    dtype = torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float32
    flat = torch.nn.functional.pad(x.detach().reshape(-1, K).to(dtype), (0, blocks * block - K))
    if four:  # even columns of each block first, as the nibbles come out
        flat = flat.unflatten(-1, (blocks, block // 2, 2)).transpose(-1, -2).flatten(1)
    y = torch.empty(len(flat), N, dtype=dtype)
    decode = decode4(block // 2) if four else loops.decode8

    @torch.inference_mode()  # a thread's own mode, whatever the caller's is
    def work(n0: int, n1: int) -> None:
        rows = torch.empty(ROWS, w.shape[1], block)
        for a in range(n0, n1, ROWS):
            b = min(a + ROWS, n1)
            decode(w, scale, zero, rows.numpy(), a, b)
            y[:, a:b] = flat @ rows[: b - a].flatten(1).to(dtype).T

    if len(flat):
        rows_in_threads(work, N, N * K)
    return finish(y, x, bias)


def int8_dots(x: Integer[Tensor, "M K"], w: Integer[Tensor, "N K"]) -> Integer[Tensor, "M N"]:
    """x @ w.T of int8 codes in int32, exactly: for few tokens, where `torch._int_mm` reorders all of w first."""
    y = torch.empty(len(x), len(w), dtype=torch.int32)
    codes, weights, out = x.contiguous().numpy(), w.contiguous().numpy(), y.numpy()
    rows_in_threads(lambda a, b: loops.w8a8_dots(weights, codes, out, a, b), len(w), x.numel() * len(w))
    return y


def warm_up() -> None:
    """Compile (or load from the cache) every loop for the dtypes that models bring: a few seconds, once a machine."""
    for x in (torch.zeros(1, 256), torch.zeros(4, 256, dtype=torch.bfloat16)):
        for bits, group in ((4, 128), (4, 64), (4, 32), (4, 16), (8, 128)):
            args = QuantizationArgs(IntGrid(bits), per_group(group))
            for scale_dtype in (torch.bfloat16, torch.float32):
                p = pack(quantize(torch.zeros(2, 256), args.with_(scale_dtype=scale_dtype)))
                for tokens in (x, x[:1], x[:1].expand(5, -1)):
                    int_dot(tokens, p)
                    blocked(tokens, p)
    int8_dots(torch.zeros(2, 256, dtype=torch.int8), torch.zeros(2, 256, dtype=torch.int8))
