"""GGUF's layout: one tensor, `blocks` uint8 (N, bytes of a row), for every recipe of `GGUF_ARGS`.

    32 weights share a scale   Q4_0 Q5_0 Q8_0 IQ4_NL: fp16 scales          Q4_1 Q5_1: and fp16 minima, w = s·q - m, m = -min
                               MXFP4: a power of two, the codes and scales of every other MXFP4
    256 weights, two levels    Q3_K Q6_K: scales are codes with an fp16 scale of their own, one for 256 weights
                               Q2_K Q4_K Q5_K: and so are the minima

Nothing is computed on the way: the codes, scales and minima of the QTensor are the bits of the blocks (`gguf.py` draws
them). Which type a recipe belongs to is found by comparing, so a recipe is the type's name. Source: ggml's
`ggml-quants.c`; equal to gguf-py's dequantize for every type (tests/interop).
"""

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.formats import GGUF_ARGS
from qcourse.numerics.qtensor import QTensor
from qcourse.packing.gguf import BLOCKS, Blocks, join, split
from qcourse.packing.layout import Cut, Layout, Slot
from qcourse.shapes import Float, Tensor


def kind_of(args: QuantizationArgs) -> str:
    """The block type of a recipe. Raises ValueError when it is none of GGUF's, listing them."""
    for kind, theirs in GGUF_ARGS.items():
        if theirs.same_storage(args):
            return kind
    raise ValueError(f"the GGUF layout holds {', '.join(GGUF_ARGS)}; this recipe is none of them: {args}")


class Gguf(Layout):
    """Rows of blocks, any of the thirteen types."""

    name = "gguf"
    input_scale = None

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """blocks. Raises ValueError for another recipe, and unless K is a multiple of the block."""
        kind = kind_of(args)
        block = BLOCKS[kind]
        if K % block.weights:
            raise ValueError(f"{kind} has blocks of {block.weights} weights, which do not divide K={K}")
        cuts = {"N": Cut(0), "K": Cut(1, block.weights, block.bytes)}
        return {"blocks": Slot((N, K // block.weights * block.bytes), (torch.uint8,), cuts)}

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        if q.order is not None:
            raise ValueError("the GGUF layout has no act_order: its blocks are neighbours")
        kind, z = kind_of(q.args), q.zero_point
        if isinstance(q.scale, QTensor):
            m, mins = (None, None) if z is None else (z.scale, z.codes)
            return {"blocks": join(Blocks(q.codes, q.scale.scale, m, q.scale.codes, mins), kind)}
        return {"blocks": join(Blocks(q.codes, q.scale, None if z is None else minus(z)), kind)}

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        b = split(t["blocks"], kind_of(args))
        if b.scales is None:
            return QTensor(b.codes, b.d, None if b.m is None else minus(b.m), args)
        zero = None if b.mins is None else QTensor(b.mins, b.m, None, args.zero)
        return QTensor(b.codes, QTensor(b.scales, b.d, None, args.scale), zero, args)


def minus(x: Float[Tensor, "N blocks"]) -> Float[Tensor, "N blocks"]:
    """-x of float16 by its sign bit: NaN keeps its payload, so that the way back gives the same bytes."""
    return (x.view(torch.int16) ^ -0x8000).view(torch.float16)
