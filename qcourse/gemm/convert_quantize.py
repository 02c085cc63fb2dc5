"""W → the bytes of a format in one compiled pass: what `pack(quantize(W, args), layout)` gives, byte for byte, sooner.

    layout                                          loop                                formats
    gguf, and others by way of it                   quantize_loops                      GGUF's with one scale a block
                                                    quantize_search_loops               K-quants, IQ4_NL
    mxfp4-… mxfp6-… mxfp8-… nvfp4-pack-quantized    quantize_scale_loops                compressed-tensors' rules
    row, words, plain, pack-, int-, float-quantized quantize_scale_loops                int4, int8, E4M3 by max|w|, symmetric

A loop that meets anything unusual (NaN, a scale that does not fit, a block of subnormal numbers) gives up, and torch does it
all again: right, slow, and with the right error.
"""

from array import array
from functools import lru_cache

import torch

from qcourse.gemm.jit import has_jit, loop
from qcourse.gemm.threads import run
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.codebooks import IQ4_NL
from qcourse.numerics.formats import GGUF_ARGS, NVFP4_ARGS, block_float
from qcourse.numerics.ggml_search import TRIES
from qcourse.numerics.grids import E2M1, E2M3, E4M3, IntGrid
from qcourse.numerics.quantize import FLOATS, quantize
from qcourse.packing.gguf import BLOCKS
from qcourse.packing.packed import PackedWeight, holders, layout_of, pack, repack
from qcourse.shapes import Float, Tensor

GGUF = {  # kind → the loop, and how many blocks it does at once
    "Q4_0": (("quantize_loops", "signed_extreme", 4), 1),
    "Q5_0": (("quantize_loops", "signed_extreme", 5), 1),
    "Q4_1": (("quantize_loops", "shifted", 4), 1),
    "Q5_1": (("quantize_loops", "shifted", 5), 1),
    "Q8_0": (("quantize_loops", "q8_0"), 1),
    "TQ2_0": (("quantize_loops", "tq2_0"), 1),
    "IQ4_NL": (("quantize_search_loops", "iq4_nl"), 16),
    "Q2_K": (("quantize_search_loops", "shifted", 2), 1),
    "Q3_K": (("quantize_search_loops", "plain", 3), 1),
    "Q4_K": (("quantize_search_loops", "shifted", 4), 2),
    "Q5_K": (("quantize_search_loops", "shifted", 5), 2),
    "Q6_K": (("quantize_search_loops", "plain", 6), 1),
}
MX = {block_float(E2M1): (4, 1), block_float(E2M3): (6, 3), block_float(E4M3): (8, 1)}  # bits, mantissa of the loudest
SCALES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # as quantize_scale_loops.write_scale names them
LAYOUTS = ("row", "words", "plain", "pack-quantized", "int-quantized", "float-quantized", "fp8")
PIECES = 8  # a thread
SIGNED = ("plain", "int-quantized")  # where integers lie as they are, not from 0


def quantize_packed(
    W: Float[Tensor, "*lead K"],
    args: QuantizationArgs,
    layout: str | None = None,
    name: str = "W",
    importance: Float[Tensor, "K"] | None = None,
) -> PackedWeight:
    """`pack(quantize(W, args, name, importance), layout)`: by a compiled loop where there is one.

    Raises what these two raise.
    """
    if importance is None and W.dim() == 2 and W.numel() and W.dtype in FLOATS and W.device.type == "cpu" and has_jit():
        try:
            held = layout or holders(args, *W.shape)[0]
            slots = layout_of(held).slots(args, *W.shape)
        except ValueError:  # which one of the two will raise again, or something else before
            return pack(quantize(W, args, name), layout)
        tensors = compiled(W.detach().float().contiguous(), args, held, slots)
        if tensors is not None:
            return PackedWeight(tensors, tuple(W.shape), args, held)
    return pack(quantize(W, args, name, importance), layout)


def compiled(x: Float[Tensor, "N K"], args: QuantizationArgs, layout: str, slots) -> dict[str, Tensor] | None:
    """The tensors of the layout; None where no loop serves, or one gave up."""
    if args.scaling == "ggml":
        return gguf(x, args, layout)
    if layout == "nvfp4-pack-quantized" and args == NVFP4_ARGS:
        return nvfp4(x, slots)
    tensors = {name: torch.empty(slot.shape, dtype=slot.dtypes[0]) for name, slot in slots.items() if not slot.optional}
    if args in MX and layout.startswith("mx"):
        return filled(tensors, x, 32, ("quantize_scale_loops", "block_floats", *MX[args]))
    return scaled(x, args, layout, slots)


def filled(tensors: dict[str, Tensor], x: Tensor, G: int, which: tuple, *more: int, at_once: int = 1):
    """The tensors (codes, and scales if there are any), filled by a loop from groups of G weights; None if it gave up."""
    (codes, *scales), trouble, count = tensors.values(), torch.zeros(1, 1, dtype=torch.int64), x.numel() // G
    if count < at_once:
        return None
    a = (0, 0, x.data_ptr(), codes.data_ptr(), count, trouble.data_ptr(), 1, 1)
    a = array("q", (*a, *(t.data_ptr() for t in scales[:1]), *more))
    run(loop(*which), a, -(-count // at_once), x.numel(), PIECES)
    return None if trouble.item() else tensors


def gguf(x: Tensor, args: QuantizationArgs, layout: str) -> dict[str, Tensor] | None:
    """Blocks, or what another layout makes of them. (The recipe has to be the very one, with its way of finding scales.)"""
    kind = next((kind for kind, theirs in GGUF_ARGS.items() if theirs == args), None)
    if kind not in GGUF or x.shape[1] % BLOCKS[kind].weights:
        return None
    (which, at_once), (N, K), block = GGUF[kind], x.shape, BLOCKS[kind]
    tensors = {"blocks": torch.empty(N, K // block.weights * block.bytes, dtype=torch.uint8)}
    more = (tried(kind).data_ptr(), -(-N * K // block.weights // at_once)) if "search" in which[0] else ()
    tensors = filled(tensors, x, block.weights, which, *more, at_once=at_once)
    return tensors and repack(PackedWeight(tensors, (N, K), args, "gguf"), layout).tensors


@lru_cache
def tried(kind: str) -> Float[Tensor, "n"]:
    """What a search tries: spans, or numerators of 1/d; for IQ4_NL the edges and values of its list behind them."""
    grid = GGUF_ARGS[kind].grid
    if grid == IQ4_NL:
        v = torch.tensor(grid.values)
        return torch.cat([torch.arange(-7, 8) + v[0], (v[1:] + v[:-1]) / 2, v])
    if grid.num_bits in TRIES and not grid.signed:
        first, steps, step = TRIES[grid.num_bits]
        return first + step * torch.arange(steps + 1.0) + grid.qmax
    return -(0.1 * torch.tensor([0.0, *range(-9, 0), *range(1, 10)]) - grid.qmin)


def nvfp4(x: Tensor, slots) -> dict[str, Tensor] | None:
    """Codes, scales, and the number that divides them (numerics.two_level)."""
    low, high = torch.aminmax(x)
    least = torch.finfo(torch.float32).tiny
    g = torch.nan_to_num(E4M3.limit * E2M1.limit / torch.maximum(high, -low).abs().clamp(min=least), posinf=1.0)
    tensors = {name: torch.empty(slot.shape, dtype=slot.dtypes[0]) for name, slot in slots.items()}
    tensors["weight_global_scale"] = (1 / (1 / g.double())).float().reshape(1)
    return filled(tensors, x, 16, ("quantize_scale_loops", "nvfp4"), g.data_ptr())


def scaled(x: Tensor, args: QuantizationArgs, layout: str, slots) -> dict[str, Tensor] | None:
    """Codes and scales of plain numbers."""
    G, grid = args.group_size or x.shape[1], args.grid
    whole = grid in (IntGrid(4), IntGrid(8))
    if not (whole or grid == E4M3) or layout not in LAYOUTS or args.scaling != "absmax" or args.scale not in SCALES:
        return None
    if args.granularity.rows != 1 or args.zero is not None or G % 32:
        return None
    names = [name for name, slot in slots.items() if not slot.optional]
    kinds = (slots[names[0]].dtypes[0], args.scale)
    tensors = {name: torch.empty(slots[name].shape, dtype=kind) for name, kind in zip(names, kinds, strict=True)}
    offset = 0 if not whole or layout in SIGNED else 1 << (grid.num_bits - 1)
    which = ("quantize_scale_loops", "scaled", grid.num_bits, int(whole), SCALES[args.scale])
    tensors = filled(tensors, x, G, which, G, offset)
    if tensors is not None and "weight_shape" in slots:
        tensors["weight_shape"] = torch.tensor(x.shape)
    return tensors
