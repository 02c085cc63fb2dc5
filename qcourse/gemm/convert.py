"""A packed weight → its values Ŵ, in one pass: by a compiled loop where there is one, else unpacked and then multiplied.

    layouts                              formats                                      loop
    gguf                                 all thirteen                                 convert_loops.blocks
    row, words, pack-quantized           integers and floats of 2 to 8 bits, MX       convert_loops.along_k
    plain, int-quantized                 a code in a byte                             along_k
    float-quantized, fp8                 E4M3: a scale a tensor, channel, rectangle   along_k
    nvfp4-…, modelopt-nvfp4, mx…         block floats                                 along_k
    bitsandbytes                         NF4                                          along_k

Without one: GPTQ's and AWQ's words, act_order, lists with unused codes, K or groups that are no multiple of 16.
What grids and scales mean is asked of `numerics` (tables of their values), so that no loop says it a second time.
"""

import math
from array import array
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from qcourse.gemm.jit import has_jit, loop, task
from qcourse.gemm.operand import described
from qcourse.gemm.threads import run
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.codebooks import E8M0, Codebook
from qcourse.numerics.grids import Grid, IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, values_of
from qcourse.packing import bits
from qcourse.packing.gguf import BLOCKS, SUB_BLOCKS
from qcourse.packing.gguf_layout import kind_of
from qcourse.packing.packed import PackedWeight, layout_of, unpack
from qcourse.shapes import Float, Tensor, UInt8

LIMITS = {t: torch.finfo(t).max for t in (torch.float32, torch.bfloat16, torch.float16)}
ROWS = 16  # of a piece
NONE = torch.zeros(1, 1, device="cpu")  # (here and below: whatever device is the default)


class Found(NamedTuple):
    """A loop, and the tensors that it reads besides: rows of bytes, values of codes, and what else comes behind."""

    loop: task
    rows: UInt8[Tensor, "N bytes"]
    table: Float[Tensor, "one values"]
    more: tuple[int | Tensor, ...] = ()


def dequantize_packed(p: PackedWeight, dtype: torch.dtype = torch.float32) -> Float[Tensor, "N K"]:
    """Ŵ of a packed weight: `dequantize(unpack(p), dtype)`, the same numbers bit for bit.

    Raises what `unpack` raises.
    """
    found = compiled(p) if dtype in LIMITS else None
    if found is None:
        return dequantize(unpack(p), dtype)
    (N, K), limit = p.shape, math.inf if getattr(p.args.grid, "ieee", False) else LIMITS[dtype]
    out = room(N, K)
    a = array("q", (0, 1, *described(found.rows), *described(out), *described(found.table)))
    a.extend((int(np.float32(limit).view(np.int32)), -(-N // ROWS)))
    for x in found.more:
        a.extend(described(x) if isinstance(x, Tensor) else (x,))
    run(found.loop, a, N, N * K)
    return out.to(dtype)


def room(N: int, K: int) -> Float[Tensor, "N K"]:
    """An fp32 matrix that begins on a line of the cache. NumPy's memory, because NumPy asks Linux for large pages: half of
    the time would go into 4 KB ones."""
    flat = np.empty(N * K + 16, np.float32)
    begin = -flat.ctypes.data % 64 // 4
    return torch.from_numpy(flat[begin : begin + N * K].reshape(N, K))


def compiled(p: PackedWeight) -> Found | None:
    """The loop for this weight, or None where there is none. Raises ValueError for tensors that are not the layout's."""
    graph = torch.is_grad_enabled() and any(t.requires_grad for t in p.tensors.values())
    if p.layout not in FINDERS or graph or any(t.device.type != "cpu" for t in p.tensors.values()) or not has_jit():
        return None
    N, K = p.shape
    layout_of(p.layout).check(p.tensors, p.args, N, K)
    return FINDERS[p.layout](p) if N and K and K % 16 == 0 else None


SCALES = {"Q2_K": 1, "Q4_K": 2, "Q5_K": 2, "Q3_K": 3, "Q6_K": 4}  # how they lie: convert_loops.sub_scale


@lru_cache
def gguf_loop(kind: str) -> task:
    """convert_loops.blocks for a block type, out of the table of packing.gguf."""
    block, where, at = BLOCKS[kind], {}, 0
    for name, size in block.fields.items():
        where[name], at = at, at + size
    low, high, *_ = *((where[name], B, width) for name, B, width in block.planes), (0, 0, 0)
    sub = (SCALES[kind], where["scales"], block.weights // SUB_BLOCKS.get(kind, 16)) if kind in SCALES else (0, 0, 0)
    places = where.get("d", where.get("e")), where.get("m", where.get("dmin", -1))
    offset = -1 if kind in ("IQ4_NL", "TQ2_0", "MXFP4") else -128 if kind == "Q8_0" else block.offset or 0
    return loop("convert_loops", "blocks", (block.weights, block.bytes), low, high, places, sub, offset, "e" in where)


def gguf(p: PackedWeight) -> Found:
    """GGUF's blocks."""
    kind = kind_of(p.args)
    return Found(gguf_loop(kind), p.data.contiguous(), values(p.args.grid, 2 if kind == "TQ2_0" else 4))


@lru_cache
def values(grid: Grid, num_bits: int) -> Float[Tensor, "1 values"]:
    """The value of every code of so many bits, at least 16 of them (what lies beyond is never asked for)."""
    found = grid.decode(torch.arange(1 << num_bits, device="cpu").to(grid.dtype)).view(1, -1)
    return torch.nn.functional.pad(found, (0, max(0, 16 - found.shape[1])))


class Names(NamedTuple):
    """What a layout with codes along K calls its tensors, and whether each code has a byte to itself."""

    codes: str
    scale: str
    zero: str = ""
    whole: bool = False


CT = "weight_scale", "weight_zero_point"
NAMES = {
    **dict.fromkeys(("row", "words"), Names("qweight", "scale", "zero_point")),
    "plain": Names("qweight", "scale", "zero_point", True),
    "pack-quantized": Names("weight_packed", *CT),
    **dict.fromkeys(("int-quantized", "float-quantized", "mxfp8-quantized"), Names("weight", *CT, True)),
    "fp8": Names("weight", "weight_scale_inv", "weight_zero_point", True),
    "modelopt-nvfp4": Names("weight", "weight_scale"),
    "torchao": Names("_weight_qdata", "_weight_scale", "_weight_zero_point", True),
    **{f"{name}-pack-quantized": Names("weight_packed", "weight_scale") for name in ("nvfp4", "mxfp4", "mxfp6")},
}
ABOVE = {"nvfp4-pack-quantized": "weight_global_scale", "modelopt-nvfp4": "weight_scale_2"}  # the number over all scales


def along_k(p: PackedWeight) -> Found | None:
    """Codes one behind the other, in their B bits or a byte each."""
    names, args, t, (N, K) = NAMES[p.layout], p.args, p.tensors, p.shape
    if t.keys() & {"order", "weight_g_idx"} or "weight_shape" in t and t["weight_shape"].tolist() != [N, K]:
        return None  # (in the second case `unpack` says why)
    scale, scales, zero = t[names.scale].reshape(args.granularity.scales(N, K)), NONE, None
    if p.layout in ABOVE:
        scales = under(t[ABOVE[p.layout]], args.scale, divides=p.layout != "modelopt-nvfp4")
        scale = scale.view(torch.uint8)
    elif args.scale == E8M0:
        scales = values(E8M0, 8)
    else:
        scale = values_of(scale, args.scale).float()
    if scales is None:
        return None
    if args.zero is not None and p.layout == "pack-quantized":
        zero = bits.unpack_words(t[names.zero].T.contiguous(), args.num_bits, len(scale)).T.float()
    elif args.zero is not None:
        zero = values_of(t[names.zero].reshape(scale.shape), args.zero)
    return stream(p, t[names.codes], 8 if names.whole else args.num_bits, scale, scales, zero)


def under(above: Tensor, args: QuantizationArgs, divides: bool) -> Float[Tensor, "1 256"] | None:
    """What each byte of NVFP4's scales is worth under the number above; None for a number that `unpack` refuses."""
    if not (torch.isfinite(above) & (above > 0)).all():
        return None
    above = above.reshape(1, 1)
    every = torch.arange(256, dtype=torch.uint8, device="cpu").view(1, -1)
    return dequantize(QTensor(every, 1 / above.double() if divides else above, None, args))


def stream(p: PackedWeight, rows: Tensor, B: int, scale: Tensor, scales: Tensor, zero=None, swap: int = 0) -> Found | None:
    """convert_loops.along_k for rows of codes in B bits, or None for a grid or granularity that it does not know."""
    args, grid, (N, K) = p.args, p.args.grid, p.shape
    granularity, whole = args.granularity, p.layout in NAMES and NAMES[p.layout].whole
    count, flip, less = 1 << B, 0, 0
    if isinstance(grid, IntGrid):
        count, less = 0, 0 if not grid.signed else 128 if whole else 1 << (B - 1)
        flip = less if whole else 0
    elif isinstance(grid, Codebook) and len(grid.values) < count:
        return None
    runs = granularity.rows is None and granularity.cols is not None
    if runs or (granularity.cols or 16) % 16 or zero is not None and args.zero_in == "tensor":
        return None
    shifted = 0 if zero is None else 1 if args.zero_in == "steps" else 2  # convert_loops.STEPS, WEIGHTS
    made = loop("convert_loops", "along_k", B, swap, count, scale.dtype == torch.uint8, shifted)
    more = scale.contiguous(), scales, NONE if zero is None else zero.contiguous()
    more = *more, granularity.rows or N, granularity.cols or K, flip, less
    return Found(made, rows.contiguous().view(torch.uint8), values(grid, B) if count else NONE, more)


def bitsandbytes(p: PackedWeight) -> Found | None:
    """NF4: the first code of a pair in the high bits; scales of scales over the ends of rows, found beforehand."""
    t, (N, K) = p.tensors, p.shape
    scale = QTensor(t["absmax"].view(N, -1), t["nested_absmax"].view(1, -1), -t["nested_offset"].reshape(1, 1), p.args.scale)
    return stream(p, t["weight"].reshape(N, K // 2), 4, dequantize(scale), NONE, swap=1)


FINDERS: dict[str, Callable[[PackedWeight], Found | None]] = dict.fromkeys(NAMES, along_k)
FINDERS |= {"gguf": gguf, "bitsandbytes": bitsandbytes}
