"""bitsandbytes' 4-bit layout: NF4 with double quantization. The first code of a pair lies in the *high* nibble.

    weight           uint8 (N·K/2, 1)      codes in the order of memory
    absmax           uint8 (N·K/64)        code of each block's scale in a table of 256 values (DYNAMIC8)
    nested_absmax    fp32 (ceil(N·K/64/256))    one scale for 256 of those
    nested_offset    fp32 ()               the mean that was taken off them;  s = table[absmax]·nested_absmax + nested_offset

In a file the last three are called `weight.absmax`, `weight.nested_absmax`, and `nested_offset` in the JSON of
`weight.quant_state.bitsandbytes__nf4`. Source: bitsandbytes 0.50 (`quantize_4bit`; tests/interop). Notebook 05 §5.
"""

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.formats import NF4_ARGS
from qcourse.numerics.qtensor import QTensor
from qcourse.packing import bits
from qcourse.packing.layout import Cut, Layout, Slot
from qcourse.shapes import Tensor


class BitsAndBytes(Layout):
    """NF4 and its two levels of scales. Nothing but the whole can be cut out of it: blocks of scales run over rows."""

    name = "bitsandbytes"
    input_scale = None

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """Raises ValueError for another format than NF4, or when 64 does not divide K."""
        if not args.same_storage(NF4_ARGS):
            raise ValueError(
                f"bitsandbytes holds NF4 in blocks of 64, double quantized; not {args.grid}, {args.granularity}"
            )
        args.granularity.check(K)
        blocks = N * K // 64
        why = "256 scales of neighbours share one, over the ends of rows"
        cuts = {"N": Cut(0, N, why=why), "K": Cut(0, K, why=why)}
        return {
            "weight": Slot((N * K // 2, 1), (torch.uint8,), cuts),
            "absmax": Slot((blocks,), (torch.uint8,), cuts),
            "nested_absmax": Slot((-(-blocks // 256),), (torch.float32,), cuts),
            "nested_offset": Slot((), (torch.float32,)),
        }

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        pairs = q.codes.reshape(-1, 2)
        return {
            "weight": bits.pack_nibbles(pairs.flip(1)),
            "absmax": q.scale.codes.reshape(-1),
            "nested_absmax": q.scale.scale.reshape(-1),
            "nested_offset": -q.scale.zero_point.reshape(()),
        }

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        codes = bits.unpack_nibbles(t["weight"]).flip(1).reshape(N, K)
        absmax, offset = t["absmax"].view(N, K // 64), -t["nested_offset"].reshape(1, 1)
        return QTensor(codes, QTensor(absmax, t["nested_absmax"].view(1, -1), offset, args.scale), None, args)
