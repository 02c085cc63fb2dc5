"""The CPU paths for packed weights: few tokens in integers (memory-bound), many tokens block by block through BLAS.

    int_dot   M small   x becomes int16 (one scale a block of 128), weights are unpacked in registers: one pass over the
                        packed bytes and nothing else. How near to the machine's read bandwidth: captures/gemm-cpu-*.
    blocked   M large   each thread unpacks 128 rows into its own cache and hands them to BLAS: the whole Ŵ never exists
                        in memory, the matrix units do the work, and unpacking is a small part of it.

Where one overtakes the other is measured (`gemm.choose`). Both take what `operand.takes` says, as an `Operand` made once
(or a PackedWeight, for one call).
"""

from functools import lru_cache

import numpy as np
import torch

from qcourse.gemm import cpu_loops as loops
from qcourse.gemm.operand import Operand, bits, check, room, tensor
from qcourse.gemm.threads import rows_in_threads
from qcourse.packing.packed import PackedWeight
from qcourse.shapes import Float, Integer, Tensor

ROWS = 128  # rows of Ŵ in a thread's cache: 128 · 4096 · 4 bytes = 2 MB
dot4, decode4 = lru_cache(loops.dot4), lru_cache(loops.decode4)


def halves(x: Float[Tensor, "M K"], block: int):
    """x → (even and odd columns (2, M, K/2), Σ x of each block (M, blocks)), fp32, for `loops.float4_dots`."""
    return x.float().unflatten(-1, (-1, 2)).permute(2, 0, 1).contiguous().numpy(), block_sums(x, block).numpy()


def block_sums(x: Float[Tensor, "M K"], block: int) -> Float[Tensor, "M blocks"]:
    """Σ x of each block, fp32: what zero points are multiplied by."""
    return x.float().unflatten(-1, (-1, block)).sum(-1)


def finish(y: Float[Tensor, "M N"], x: Tensor, o: Operand, bias: Tensor | None) -> Float[Tensor, "*lead N"]:
    """y in x's shape and dtype, minus what zero points in weight units take away, plus the bias."""
    if o.minus is not None:
        sums = x.reshape(len(y), o.minus.shape[1], -1).float().sum(-1)  # Σ x over each group
        y = y.float().addmm_(sums, o.minus.T, alpha=-1)
    y = y.view(*x.shape[:-1], y.shape[1]).to(x.dtype)
    return y if bias is None else y + bias


def int_dot(x: Float[Tensor, "*lead K"], p: Operand | PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias in integers, for few tokens.

    Error against exact arithmetic: Σ_blocks s · Σ|q - z| · max|x|/65534, plus fp32 rounding: less than rounding x to bf16
    costs, unless one value of a block is some 200 times louder than the others. |x| up to 1e30; a token that holds NaN or
    inf gives NaN. Raises what `Operand.of` and `check` raise. Notebook 08 §3.
    """
    o = Operand.of(p)
    check(x, o, bias)
    N, K = o.p.shape
    flat = x.reshape(-1, K)
    out = room((len(flat), N), x.dtype)
    if len(flat) and N:
        w, scale, zero, block, loop = o.w, o.scale, o.zero, o.block, loops.int8_dots
        values = (bits(flat if x.dtype == torch.bfloat16 else flat.float()),)
        if o.num_bits == 4 and block >= 64:
            loop, w = dot4(block // 4), w.view(np.uint16)
        elif o.num_bits == 4:
            loop, w, values = loops.float4_dots, w.reshape(N, -1), halves(flat, block)
        elif block < loops.BLOCK:
            values = (bits(flat.float()), bits(block_sums(flat, block)))
            loop, w = loops.float8_dots, w.reshape(N, -1)
        rows_in_threads(lambda a, b: loop(w, scale, zero, *values, out, a, b), N, len(flat) * N * K)
    return finish(tensor(out), x, o, bias)


@lru_cache(1)
def multiplies_bf16() -> bool:
    """Whether torch has a fast bf16 product on this processor (oneDNN's word; without one it is far slower than fp32)."""
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return False


class Decoder:
    """Rows of Ŵ on demand, in `dtype` and in the order in which codes come out; `order(x)` brings x into the same order."""

    def __init__(self, p: Operand | PackedWeight, dtype: torch.dtype):
        o = Operand.of(p)
        self.four, self.dtype, self.K, self.block = o.num_bits == 4, dtype, o.p.shape[1], o.block
        self.weight = (o.w, o.scale, o.zero)
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


def blocked(x: Float[Tensor, "*lead K"], p: Operand | PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias, for many tokens: unpack ROWS rows at a time, multiply them by BLAS.

    bf16 x: Ŵ is rounded to bf16, as in `reference` (on a processor that multiplies bf16; else, and for fp16, in fp32 with
    only y rounded). Another order of summation. Raises what `Operand.of` and `check` raise.
    """
    o = Operand.of(p)
    check(x, o, bias)
    N, K = o.p.shape
    decoder = Decoder(o, torch.bfloat16 if x.dtype == torch.bfloat16 and multiplies_bf16() else torch.float32)
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
    return finish(y, x, o, bias)


def check_codes8(x: Tensor, w: Tensor) -> None:
    """Raise TypeError unless both are int8, ValueError for different K or a K at which int32 could overflow."""
    if x.dtype != torch.int8 or w.dtype != torch.int8:
        raise TypeError(f"int8 codes expected, got {x.dtype} and {w.dtype}")
    if x.shape[-1] != w.shape[-1]:
        raise ValueError(f"x has K={x.shape[-1]}, w has K={w.shape[-1]}")
    if x.shape[-1] * 128 * 128 >= 2**31:
        raise ValueError(f"K={x.shape[-1]}: a sum of K products of int8 codes may overflow int32; K must be below 131072")


def int8_dots(x: Integer[Tensor, "M K"], w: Integer[Tensor, "N K"]) -> Integer[Tensor, "M N"]:
    """x @ w.T of int8 codes in int32, exactly: for few tokens, where `torch._int_mm` reorders all of w first."""
    check_codes8(x, w)
    y = torch.empty(len(x), len(w), dtype=torch.int32)
    codes, weights, out = x.contiguous().numpy(), w.contiguous().numpy(), y.numpy()
    rows_in_threads(lambda a, b: loops.w8a8_dots(weights, codes, out, a, b), len(w), x.numel() * len(w))
    return y
