"""W4A16, W8A16 and FP4 on the GPU: weights stay packed until they are in registers, one step before the tensor core.

Law, with q the stored codes, z the zero point, s the scale of a group g of k's, everything summed in fp32:

    y[m, n] = Σ_g s[n, g] · Σ_{k in g} x[m, k] · (q[n, k] - z[n, g])        q - z is an exact bf16 and fp16

**Layout.** The kernels read rows: "row", "words" (which pads a row to whole words) and FP4's layouts hold the same bytes of
codes, so the file's own tensor is the operand and nothing is repacked. They read them in *units* of 16 bits; a unit holds
P = 16/B codes of one row:

    unit u of row n       bits 0-3    4-7      8-11     12-15          (int4: P = 4;  int8: P = 2)
    holds k =             4u          4u + 1   4u + 2   4u + 3
                          plane 0     plane 1  plane 2  plane 3

A sum over k does not care about the order of k. So instead of spreading a unit over its four columns (which moves data
between threads: 16 bits a weight through shared memory, more traffic than the weights themselves), plane j of the units
is multiplied with the columns j, j + P, j + 2P, … of x. Every nibble is used by the thread that holds it; what moves is
x, the small side. A Marlin layout buys the same by shuffling the file; with planes the shuffle is in the order of the
sum, GEMV and GEMM share one tensor, and a checkpoint loads without a repacking step. What Marlin still has and this has
not: its nibbles lie so that one 32-bit mask unpacks two weights at once. Which wins on a GPU: not measured yet.

**A new format** is one more `unpack_*` function of a 16-bit unit, one for its scales if they are not plain floats, and one
line in `FORMATS`. FP4 came so (triton_fp4), and a test adds E3M0.

**Where the scale goes.** When the codes of a step lie in one group (G a multiple of 128, or per channel), s multiplies the
fp32 sum of that step: one multiply for 128 weights, and no rounding of the weight at all. Finer groups multiply the
weight first, which rounds it to x's dtype exactly as `reference` does.

Sources: Frantar et al. 2024 (Marlin, arXiv:2408.11743); magic-number conversion: Kim et al. 2022 (arXiv:2211.10017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from qcourse.gemm import triton_launch
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.triton_fp4 import from_e4m3, from_e8m0, from_float, unpack_e2m1
from qcourse.gemm.triton_launch import Launch, Tile, jit, tile_of
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.schemes import QuantizationArgs, is_float
from qcourse.packing.packed import PackedWeight
from qcourse.shapes import Float, Integer, Tensor

# BK: bytes of a weight row a step reads, 64 = two sectors: 128 codes of int4, 64 of int8.
# decode: tensor cores want 16 tokens anyway, so M = 1 and M = 16 cost the same. 128 rows a program share one tile of x
#   (16 × 128 bf16 = 4 KB beside 8 KB of weights). 4 warps at no more than 128 registers a thread (Hopper, int4): 4
#   programs a processor, each with 3 steps in flight: about 100 KB, where 25 KB hide 700 ns at 4.8 TB/s.
# batch: the same weights a step beside 64 tokens, whose columns cost the tensor core less time than the weights take to
#   arrive; 8 warps, because with 4 Ampere runs out of registers.
# prefill: 128 × 128 outputs: 64 fp32 sums a thread for the step and 64 for the total, below 255 registers; each unpacked
#   weight is used 128 times, which is to hide the unpacking. Fewer stages where shared memory is small (8.9).
TILES = {
    "decode": Tile(BM=16, BN=128, BK=64, num_warps=4, num_stages=4),
    "batch": Tile(BM=64, BN=128, BK=64, num_warps=8, num_stages=3),
    "prefill": Tile(BM=128, BN=128, BK=64, num_warps=8, num_stages=3),
}


@jit
def unpack_int4(units, j: tl.constexpr, zero, DTYPE: tl.constexpr, COMPUTE: tl.constexpr):
    """Nibble j of int16 units, minus the zero point: OR it into the mantissa of 2^m, subtract 2^m (m mantissa bits).

    That is 128 = 0x4300 in bf16, 1024 = 0x6400 in fp16. An integer-to-float instruction a weight would be the slowest
    part of the loop.
    """
    m: tl.constexpr = DTYPE.fp_mantissa_width
    code = ((units >> (4 * j)) & 0xF) | ((DTYPE.exponent_bias + m) << m)
    return code.to(DTYPE, bitcast=True).to(COMPUTE) - (zero + (1 << m)).to(COMPUTE)


@jit
def unpack_int8(units, j: tl.constexpr, zero, DTYPE: tl.constexpr, COMPUTE: tl.constexpr):
    """Byte j of int16 units, minus the zero point: the same trick in fp32 (2^23 = 0x4B000000); bf16 has too few bits."""
    code = ((units.to(tl.int32) >> (8 * j)) & 0xFF) | 0x4B000000
    return (code.to(tl.float32, bitcast=True) - (zero + 8388608)).to(DTYPE).to(COMPUTE)


@dataclass(frozen=True)
class Format:
    """What the kernel must know of a format: code j of a unit → value, a stored scale → fp32, and who stores them so."""

    unpack: Callable
    scale: Callable = from_float
    layouts: tuple[str, ...] = ("row", "words")


FORMATS = {  # every format that this kernel knows, by its grid and, unless they are plain floats, its scales' grid
    "int4": Format(unpack_int4),
    "int8": Format(unpack_int8),
    "e2m1 × e4m3": Format(unpack_e2m1, from_e4m3, ("modelopt-nvfp4", "nvfp4-pack-quantized")),
    "e2m1 × e8m0": Format(unpack_e2m1, from_e8m0, ("row", "words", "mxfp4-pack-quantized")),
}
ABOVE = {"weight_global_scale": True, "weight_scale_2": False}  # NVFP4's number of the whole tensor: does it divide?


def format_of(args: QuantizationArgs) -> str:
    """The name under which FORMATS would know it: int4, int8, a float grid's own (e2m1), and × that of its scales' grid."""
    name = f"int{args.num_bits}" if isinstance(args.grid, IntGrid) else args.grid.name
    scale = args.scale.grid if isinstance(args.scale, QuantizationArgs) else args.scale
    return name if is_float(scale) else f"{name} × {scale}".lower()


@jit
def planes_of(x, BM: tl.constexpr, UNITS: tl.constexpr, P: tl.constexpr):
    """x (BM, UNITS·P) → its P planes (BM, UNITS): columns j, j + P, … A thread holds P neighbours, so nothing moves."""
    if P == 2:
        even, odd = tl.split(tl.reshape(x, (BM, UNITS, 2)))
        return even, odd
    else:
        even, odd = tl.split(tl.reshape(x, (BM, UNITS, 2, 2)))
        x0, x2 = tl.split(even)
        x1, x3 = tl.split(odd)
        return x0, x1, x2, x3


@jit
def of_groups(
    pointers, n, row_stride, group_stride, first, groups, in_n,
    DECODE: tl.constexpr, COMPUTE: tl.constexpr, UNITS: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """Scales or zero points of this step's GROUPS groups, decoded: (BN, 1) if it is one, else one a unit (BN, UNITS)."""
    g = first + tl.arange(0, GROUPS)
    at = pointers + n[:, None] * row_stride + g[None, :] * group_stride
    values = DECODE(tl.load(at, mask=in_n[:, None] & (g < groups)[None, :], other=0), COMPUTE)
    if GROUPS > 1:
        spread = tl.broadcast_to(values[:, :, None], (values.shape[0], GROUPS, UNITS // GROUPS))
        values = tl.reshape(spread, (values.shape[0], UNITS))
    return values


@jit
def finished(total, n, in_n, above_ptr, bias_ptr, DIVIDES: tl.constexpr, HAS_BIAS: tl.constexpr):
    """A tile's sums · what multiplies all scales (the number stored, or its reciprocal; None: nothing) + bias."""
    if DIVIDES is not None:
        above = tl.load(above_ptr)
        total *= tl.div_rn(1.0, above) if DIVIDES else above
    if HAS_BIAS:
        total += tl.load(bias_ptr + n, mask=in_n, other=0.0).to(tl.float32)[:, None]
    return total


@jit
def weight_only_kernel(
    x_ptr, w_ptr, s_ptr, z_ptr, above_ptr, bias_ptr, y_ptr,
    M, N, K, U, x_stride, s_row, s_group, z_row, z_group, split_steps, groups,
    UNPACK: tl.constexpr, SCALE: tl.constexpr, DIVIDES: tl.constexpr, ZERO: tl.constexpr, P: tl.constexpr, G: tl.constexpr,
    GROUPS: tl.constexpr, PLANES: tl.constexpr, HAS_BIAS: tl.constexpr, COMPUTE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """One tile (BN, BM) of y.T over one part of K. x (M, K), or (M, P, U) if PLANES; w (N, U) units; s, z (N, groups).

    GROUPS a step, ZERO: the zero point of a symmetric format, or None to read z. COMPUTE: x's dtype, see `compute_dtype`.
    UNPACK, SCALE: those of a `Format`; DIVIDES: see `finished`.
    Weights are the *first* operand: Hopper takes that one from registers, and N fills the 64 rows of its instruction.
    """
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty
    pid_m, pid_n = tile_of(M, N, BM, BN, 8)
    m, n = pid_m * BM + tl.arange(0, BM), pid_n * BN + tl.arange(0, BN)
    w_rows, x_rows = w_ptr + n.to(tl.int64)[:, None] * U, x_ptr + m.to(tl.int64)[:, None] * x_stride
    in_m, in_n, total, split = m < M, n < N, tl.zeros((BN, BM), tl.float32), tl.program_id(1)
    for step in tl.range(split * split_steps, tl.minimum((split + 1) * split_steps, tl.cdiv(U, UNITS))):
        u, k = step * UNITS + tl.arange(0, UNITS), step * UNITS * P + tl.arange(0, UNITS * P)
        g, in_u = step * UNITS * P // G, (u < U)[None, :]
        units = tl.load(w_rows + u[None, :], mask=in_n[:, None] & in_u, other=0)
        s = of_groups(s_ptr, n, s_row, s_group, g, groups, in_n, SCALE, COMPUTE, UNITS, GROUPS)
        zero = tl.full((1, 1), ZERO or 0, tl.float32)
        if ZERO is None:
            zero = of_groups(z_ptr, n, z_row, z_group, g, groups, in_n, from_float, COMPUTE, UNITS, GROUPS)
        if not PLANES:
            whole = tl.load(x_rows + k[None, :], mask=in_m[:, None] & (k < K)[None, :], other=0.0)
            xs = planes_of(whole, BM, UNITS, P)
        part = tl.zeros((BN, BM), tl.float32) if GROUPS == 1 else total
        for j in tl.static_range(P):
            w = UNPACK(units, j, zero, DTYPE, COMPUTE)
            if GROUPS > 1:
                w = (w.to(s.dtype) * s).to(DTYPE).to(COMPUTE)
            x = tl.load(x_rows + (j * U + u)[None, :], mask=in_m[:, None] & in_u, other=0.0) if PLANES else xs[j]
            part = tl.dot(w, tl.trans(x.to(COMPUTE)), part)
        total = total + part * s if GROUPS == 1 else part
    total = finished(total, n, in_n, above_ptr, bias_ptr, DIVIDES, HAS_BIAS)
    at = y_ptr + (split * M + m).to(tl.int64)[None, :] * N + n[:, None]
    tl.store(at, total.to(y_ptr.dtype.element_ty), mask=in_m[None, :] & in_n[:, None])


def launch(M: int, p: PackedWeight, dtype: torch.dtype, bias: bool, arch: int, processors: int) -> Launch:
    """Grid, compile-time constants and options for y (M, N): the whole policy, in one place."""
    (N, K), num_bits, name = p.shape, p.args.num_bits, triton_launch.regime(M)
    tile, P, form = TILES[name], 16 // num_bits, FORMATS[format_of(p.args)]
    UNITS = tile.BK // 2
    tiles, steps = triton.cdiv(M, tile.BM) * triton.cdiv(N, tile.BN), triton.cdiv(K, UNITS * P)
    splits = 1 if name == "prefill" else triton_launch.split_count(tiles, steps, processors)
    G = p.args.group_size or 1 << 30  # per channel and per tensor: one group, whatever K is
    constants = {
        "UNPACK": form.unpack, "SCALE": form.scale, "DIVIDES": next((ABOVE[t] for t in p.tensors if t in ABOVE), None),
        "P": P, "G": G, "GROUPS": max(1, UNITS * P // G), "UNITS": UNITS,
        "ZERO": 1 << (num_bits - 1) if p.zero_point is None else None, "PLANES": name != "decode",
        "HAS_BIAS": bias and splits == 1, "COMPUTE": triton_launch.compute_dtype(dtype), "BM": tile.BM, "BN": tile.BN,
    }  # fmt: skip
    bytes_a_step = tile.BN * tile.BK + 2 * tile.BM * UNITS * P
    return Launch((tiles, splits), constants, tile.options(bytes_a_step, arch))


def units_of(p: PackedWeight, name: str) -> Integer[Tensor, "N U"]:
    """The packed rows as int16 units, without a copy.

    Raises KernelMismatch for other layouts or formats than `name`, for a K whose row ends within a unit, and for groups
    that neither divide a step nor are divided by it.
    """
    K, num_bits = p.shape[1], p.args.num_bits
    P = 16 // num_bits
    if format_of(p.args) != name:
        raise KernelMismatch(f"the weight is {format_of(p.args)}: this kernel unpacks {name} codes")
    legal = FORMATS[name].layouts
    if p.layout not in legal:
        there = " or ".join(map(repr, legal))
        raise KernelMismatch(f"layout {p.layout!r}: the Triton kernels read {there}; use repack(p, {legal[-1]!r})")
    G, step = p.args.group_size or 128, TILES["decode"].BK // 2 * P
    if G % 16 or G % step and step % G:
        raise KernelMismatch(f"group_size={G}: 16, 32, 64 or a multiple of {step} expected, so that groups and steps nest")
    if p.layout == "row" and K % P:
        raise KernelMismatch(f"K={K}: rows of {num_bits}-bit codes end within 16 bits: pack as 'words'")
    return p.data.contiguous().view(torch.int16)


def scales_of(p: PackedWeight) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scales (N, groups), zero points (the scales once more if there are none), and the number above all scales, or None."""
    s = p.tensors.get("scale", p.tensors.get("weight_scale"))
    s = (s.view(torch.uint8) if s.dtype == torch.float8_e4m3fn else s).expand(p.shape[0], -1)
    above = next((p.tensors[name] for name in ABOVE if name in p.tensors), None)
    zero = p.zero_point
    if zero is not None and zero.dtype == torch.int8:  # shifted as the codes are
        zero = (zero.short() + (1 << (p.args.num_bits - 1))).to(torch.uint8)
    return s, s if zero is None else zero.expand(p.shape[0], -1), above


def weight_only(x: Tensor, p: PackedWeight, bias: Tensor | None, name: str, kernel: str) -> Tensor:
    """Check, launch, sum the splits: what both doors do."""
    arch, processors = triton_launch.architecture(x, kernel)
    if x.dtype not in (torch.bfloat16, torch.float16):
        raise TypeError(f"x is {x.dtype}: {kernel} takes bfloat16 or float16 activations")
    (N, K), lead = p.shape, x.shape[:-1]
    if x.shape[-1] != K:
        raise ValueError(f"x has K={x.shape[-1]}, the weight (N, K) = {p.shape}")
    if p.data.device != x.device:
        raise ValueError(f"the weight is on {p.data.device}, x on {x.device}: move one of them")
    units, bias = units_of(p, name), triton_launch.check_bias(bias, N, x.device)
    x = x.reshape(-1, K).contiguous()
    M, U = len(x), units.shape[1]
    y = x.new_empty(M, N)
    if M == 0:
        return y.view(*lead, N)
    plan = launch(M, p, x.dtype, bias is not None, arch, processors)
    if plan.constants["PLANES"]:
        P = plan.constants["P"]
        x = torch.nn.functional.pad(x, (0, U * P - K)).view(M, U, P).transpose(1, 2).reshape(M, P * U)
    splits = plan.grid[1]
    out = y if splits == 1 else x.new_empty(splits, M, N, dtype=torch.float32)
    s, z, above = scales_of(p)
    with torch.cuda.device_of(x):
        weight_only_kernel[plan.grid](
            x, units, s, z, above, bias, out, M, N, K, U, x.stride(0), *s.stride(), *z.stride(),
            triton.cdiv(triton.cdiv(U, plan.constants["UNITS"]), splits), s.shape[1], **plan.constants, **plan.options,
        )  # fmt: skip
        if splits > 1:
            triton_launch.sum_splits(out, bias, y)
    return y.view(*lead, N)


def w4a16_matmul(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """y = x @ Ŵ.T + bias of packed int4 rows, x bf16 or fp16; any M, N, K, symmetric or with zero points.

    Error against exact arithmetic: (K + splits + 4)·2^-24·Σ|x||ŵ|, plus u·Σ|x||ŵ| where groups are finer than a step
    (u = 2^-8 bf16, 2^-11 fp16: the weight is rounded once), plus u·|y| for the output. The same bits on every run.
    Raises KernelMismatch for layouts, formats and devices it does not understand, TypeError for another x dtype,
    ValueError for another K or device.
    """
    return weight_only(x, p, bias, "int4", "w4a16_matmul")


def w8a16_matmul(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """The same for int8 rows: y = x @ Ŵ.T + bias. Raises and errs like `w4a16_matmul`."""
    return weight_only(x, p, bias, "int8", "w8a16_matmul")


def nvfp4a16_matmul(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """The same for NVFP4, in compressed-tensors' or ModelOpt's layout. The weight is not rounded (triton_fp4), so the error
    is that of the sums, (K + splits + 6)·2^-24·Σ|x||ŵ|, and u·|y|. Raises like `w4a16_matmul`.
    """
    return weight_only(x, p, bias, "e2m1 × e4m3", "nvfp4a16_matmul")


def mxfp4a16_matmul(x: Float[Tensor, "*lead K"], p: PackedWeight, bias: Tensor | None = None) -> Float[Tensor, "*lead N"]:
    """The same for MXFP4, in its own layout or in rows. Exact weights, too; in fp16 while scales lie in 2^-23 … 2^13."""
    return weight_only(x, p, bias, "e2m1 × e8m0", "mxfp4a16_matmul")
