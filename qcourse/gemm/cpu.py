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
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.packed import PackedWeight
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
    scale = bits(p.scale if p.scale.dtype == torch.bfloat16 else p.scale.float())
    zero = ZERO[num_bits] if p.zero_point is None else p.zero_point.contiguous().numpy()
    return w.reshape(N, blocks, size), each_block(scale, N, blocks), each_block(zero, N, blocks)


def bits(t: Tensor) -> np.ndarray:
    """An fp32 tensor as NumPy sees it; bf16, which NumPy has not, as its bits (uint16)."""
    t = t.detach().contiguous()
    return (t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy()


def each_block(values: np.ndarray, N: int, blocks: int) -> np.ndarray:
    """One value a group, a row or a tensor → one a block (N, blocks)."""
    if values.shape[1] not in (1, blocks):
        values = np.repeat(values, blocks // values.shape[1], axis=1)
    return np.broadcast_to(values, (N, blocks))


def split(x: Float[Tensor, "M K"], blocks: int, planes: int, each: int):
    """x → (codes (M, blocks, planes, each) int16, scale (M, blocks), Σ codes); see `loops.to_int16`."""
    codes = np.empty((len(x), blocks, planes, each), np.int16)
    scale, total = np.empty((len(x), blocks), np.float32), np.empty((len(x), blocks), np.int32)
    loops.to_int16(bits(x if x.dtype == torch.bfloat16 else x.float()), codes, scale, total, 0, len(x))
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
    y = torch.empty(len(flat), N, dtype=torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float32)
    if len(flat) and N:
        block, out = block_size(p.args.group_size or 128), bits(y)
        w, scale, zero = arrays(p, block)
        if not four:
            loop, rest = loops.int8_dots, (*split(flat, w.shape[1], 1, block), out)
        elif block == 128 and len(flat) <= REUSE:
            loop, w, rest = loops.int4_dot, w.view(np.uint16), (*split(flat, w.shape[1], 4, 32), out)
        elif block >= 64:
            loop, rest = dots4(block // 2), (*split(flat, w.shape[1], 2, block // 2), out)
        else:
            loop, w, rest = loops.float4_dots, w.reshape(N, -1), (*halves(flat, p.args.group_size), out)
        rows_in_threads(lambda a, b: loop(w, scale, zero, *rest, a, b), N, len(flat) * N * K)
    return finish(y, x, bias)


class Decoder:
    """Rows of Ŵ on demand, in `dtype` and in the order in which codes come out; `order(x)` brings x into the same order."""

    def __init__(self, p: PackedWeight, dtype: torch.dtype):
        self.four, self.dtype, self.K = p.args.num_bits == 4, dtype, p.shape[1]
        self.block = block_size(p.args.group_size or 128)
        self.weight = arrays(p, self.block)
        self.decode = decode4(self.block // 2) if self.four else loops.decode8
        self.width = self.weight[0].shape[1] * self.block  # K, rounded up to whole blocks

    def rows(self, n0: int, n1: int, buffer: Float[Tensor, "rows blocks block"]) -> Float[Tensor, "n width"]:
        """Ŵ[n0:n1]; `buffer` is fp32 work space of at least that many rows."""
        self.decode(*self.weight, buffer.numpy(), n0, n1)
        return buffer[: n1 - n0].flatten(1).to(self.dtype)

    def buffer(self) -> Float[Tensor, "rows blocks block"]:
        """Work space for ROWS rows: a thread's own."""
        return torch.empty(ROWS, self.width // self.block, self.block)

    def order(self, x: Float[Tensor, "M K"]) -> Float[Tensor, "M width"]:
        """x in `dtype`, padded with zeros; for int4, the even columns of each block first."""
        x = torch.nn.functional.pad(x.detach().to(self.dtype), (0, self.width - self.K))
        return x.unflatten(-1, (-1, self.block // 2, 2)).transpose(-1, -2).flatten(1) if self.four else x


def blocked(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias, for many tokens: unpack ROWS rows at a time, multiply them by BLAS in x's dtype.

    The same roundings as `reference` (Ŵ in x's dtype), in another order of summation. Raises what `check` raises.
    """
    check(x, p)
    N, K = p.shape
    decoder = Decoder(p, torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float32)
    flat = decoder.order(x.reshape(-1, K))
    y = torch.empty(len(flat), N, dtype=decoder.dtype)

    @torch.inference_mode()  # a thread's own mode, whatever the caller's is
    def work(n0: int, n1: int) -> None:
        buffer = decoder.buffer()
        for a in range(n0, n1, ROWS):
            b = min(a + ROWS, n1)
            y[:, a:b] = flat @ decoder.rows(a, b, buffer).T

    if len(flat):
        rows_in_threads(work, N, N * K)
    return finish(y, x, bias)


def int8_dots(x: Integer[Tensor, "M K"], w: Integer[Tensor, "N K"]) -> Integer[Tensor, "M N"]:
    """x @ w.T of int8 codes in int32, exactly: for few tokens, where `torch._int_mm` reorders all of w first."""
    y = torch.empty(len(x), len(w), dtype=torch.int32)
    codes, weights, out = x.contiguous().numpy(), w.contiguous().numpy(), y.numpy()
    rows_in_threads(lambda a, b: loops.w8a8_dots(weights, codes, out, a, b), len(w), x.numel() * len(w))
    return y
