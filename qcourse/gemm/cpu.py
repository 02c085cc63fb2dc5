"""The CPU paths for packed weights: few tokens in integers (memory-bound), many tokens block by block through BLAS.

    int_dot   M small   x becomes integers (one scale a block), weights are unpacked in registers: one pass over the packed
                        bytes and nothing else (gemm.dots). How near to the machine's read bandwidth: captures/gemm-cpu-*.
    blocked   M large   each thread unpacks some rows into its own cache and hands them to BLAS: the whole Ŵ never exists
                        in memory, the matrix units do the work, and unpacking is a small part of it.

Where one overtakes the other is measured (`gemm.choose`). Both take what `operand.takes` says, as an `Operand` made once
(or a PackedWeight, for one call).
"""

from array import array
from functools import lru_cache

import torch

from qcourse.gemm.jit import loop
from qcourse.gemm.operand import KINDS, Operand, check, described
from qcourse.gemm.threads import rows_in_threads, run
from qcourse.packing.packed import PackedWeight
from qcourse.shapes import Float, Integer, Tensor

ROWS = 256  # rows of Ŵ in a thread's cache: 256 · 4096 · 2 bytes = 2 MB in bf16


def loop_for(o: Operand, tokens: int, block: int | None):
    """(loop, what it takes: everything but x and y) of `gemm.dots` for 1, 2 or more tokens, rounded to int16, or to int8
    with a scale for each `block` columns."""
    from qcourse.gemm.vectors import PIECE  # needs numba

    width, per_scale = (16, o.block) if block is None else (8, block)
    planes, piece = width // o.num_bits, 8 * PIECE // o.num_bits  # columns of a piece
    pieces = max(1, min(min(o.group or per_scale, per_scale) // piece, 4 // planes))
    columns, groups, per = pieces * piece, 1, 0
    if o.group is not None and o.group <= columns:
        groups, per = columns // o.group, 1
    types = (o.scale.dtype.type, o.zero is not None)
    constants = (o.num_bits, width, pieces, groups, max(1, columns // per_scale), per, tokens, types)
    return loop("dots", "dots", *constants), array("q", [0, 0, *o.described, *[0] * 6, per_scale, o.middle, 0])


def finish(y: Float[Tensor, "M N"], x: Tensor, o: Operand, bias: Tensor | None) -> Float[Tensor, "*lead N"]:
    """y in x's shape and dtype, minus what zero points in weight units take away, plus the bias."""
    if o.minus is not None:
        sums = x.reshape(len(y), o.minus.shape[1], -1).float().sum(-1)  # Σ x over each group
        y = y.float().addmm_(sums, o.minus.T, alpha=-1)
    y = y.view(*x.shape[:-1], y.shape[1])
    y = y if y.dtype == x.dtype else y.to(x.dtype)
    return y if bias is None else y + bias


def int_dot(
    x: Float[Tensor, "*lead K"], p: Operand | PackedWeight, bias: Tensor | None = None, block: int | None = None
) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias in integers, for few tokens: x in int16, or in int8 with one scale for each `block` columns.

    Error against exact arithmetic: Σ_blocks s · Σ|q - z| · max|x|/65534 (int8: /255), plus fp32 rounding. In int16 that is
    less than rounding x to bf16 costs, unless one value of a block is some 200 times louder than the others. |x| up to 1e30;
    a token that holds NaN or inf gives NaN. Raises what `Operand.of` and `check` raise. Notebook 08 §3.
    """
    o = Operand.of(p)
    check(x, o, bias)
    N, K = o.p.shape
    M, half = x.numel() // K, x.dtype == torch.float16
    x_given = (x.float() if half else x).contiguous()
    y = torch.empty((M, N), dtype=x_given.dtype)
    if M and N:
        key = (M if M < 3 else 4, block)
        if key not in o.known:
            o.known[key] = loop_for(o, *key)
        dots, a = o.known[key]
        a = a[:]
        a[20:26], a[28] = array("q", (*described(x_given, M, K), *described(y, M, N))), x_given.dtype == torch.bfloat16
        run(dots, a, N, M * N * K)
    return finish(y, x, o, bias)


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
        from qcourse.gemm.decode import NUMBERS  # needs numba

        o = Operand.of(p)
        self.operand = o  # its memory is read by address
        self.dtype, self.K, self.planes, self.numbers = dtype, o.p.shape[1], 16 // o.num_bits, NUMBERS
        piece = self.planes * self.numbers  # columns
        groups, per = (piece // o.group, 1) if o.group is not None and o.group <= piece else (1, 0)
        types = (o.scale.dtype.type, o.zero is not None, KINDS[dtype])
        self.loop = loop("decode", "decode", o.num_bits, groups, per, types).ready()
        self.width, self.given = -(-self.K // piece) * piece, array("q", [0, 1, *o.described, *[0] * 4])

    def rows(self, n0: int, n1: int, buffer: Float[Tensor, "rows width"]) -> Float[Tensor, "n width"]:
        """Ŵ[n0:n1], written into `buffer`, which has at least that many rows."""
        a, out = self.given[:], buffer[: n1 - n0]
        a[20:24] = array("q", (*described(out), n0))
        self.loop.call(a.buffer_info()[0])
        return out

    def buffer(self) -> Float[Tensor, "rows width"]:
        """Room for ROWS rows: a thread's own."""
        return torch.empty(ROWS, self.width, dtype=self.dtype)

    def order(self, x: Float[Tensor, "M K"]) -> Float[Tensor, "M width"]:
        """x in `dtype`, padded with zeros, the columns of each piece plane by plane."""
        x = torch.nn.functional.pad(x.detach().to(self.dtype), (0, self.width - self.K))
        return x.unflatten(-1, (-1, self.numbers, self.planes)).transpose(-1, -2).flatten(1)


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
    x, w = x.contiguous(), w.contiguous()
    if y.numel():
        from qcourse.gemm.int8_loops import w8a8_dots

        run(w8a8_dots, array("q", (0, 0, *described(w), *described(x), *described(y))), len(w), x.numel() * len(w))
    return y
