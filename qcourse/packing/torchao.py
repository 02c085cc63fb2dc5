"""TorchAO's tensors, as `safetensors` holds them: a parameter `….weight` is taken apart into `…._weight_qdata` and so on.

    int8     _weight_qdata int8 (N, K) · _weight_scale fp32 (N, 1) · _weight_zero_point int8 (N, 1), 0 where symmetric
    intx     _weight_qdata int8 (N, K), a byte a code, whatever the bits · _weight_scale (N, K/G) · _weight_zero_point int8
    float8   _weight_qdata E4M3 (N, K) · _weight_scale fp32 (N, 1)

Nothing is packed: a 4-bit "intx" weight takes 8 bits in the file. Which class a parameter becomes again stands in the file's
metadata (`checkpoints.torchao`). Does not handle: Int4Tensor and what is swizzled for one kernel (NVFP4Tensor, MXTensor).
Source: torchao 0.18, `quantize_/workflows`, `prototype/safetensors` (tests/interop).
"""

import torch

from qcourse.numerics.grids import E4M3, IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.layout import Cut, Layout, Slot, only_plain, scale_slot, with_scales_of
from qcourse.shapes import Tensor

QDATA, SCALE, ZERO = "_weight_qdata", "_weight_scale", "_weight_zero_point"


class TorchAO(Layout):
    """Signed integers of 2 to 8 bits, and E4M3: one code in one byte, one scale a row or a group."""

    name = "torchao"
    input_scale = None

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """Raises ValueError for another grid than signed integers and E4M3, and for scales of a tensor or of blocks."""
        if args.granularity.rows != 1 or not (args.grid == E4M3 or isinstance(args.grid, IntGrid) and args.grid.signed):
            raise ValueError(f"torchao holds signed integers or E4M3 by row or group; not {args.grid}, {args.granularity}")
        only_plain(args, self.name)
        args.granularity.check(K)
        code = torch.float8_e4m3fn if args.grid == E4M3 else torch.int8
        scale = scale_slot(args, N, K)
        found = {QDATA: Slot((N, K), (code,), {"N": Cut(0), "K": Cut(1)}), SCALE: scale}
        if args.grid == E4M3:
            return found
        return found | {ZERO: Slot(scale.shape, (torch.int8,), scale.cuts, optional=args.zero is None)}

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        if q.order is not None:
            raise ValueError("torchao has no act_order: its groups are neighbours")
        if q.args.grid == E4M3:
            return {QDATA: q.codes.view(torch.float8_e4m3fn), SCALE: q.scale}
        zero = torch.zeros(q.scale.shape, dtype=torch.int8) if q.zero_point is None else q.zero_point
        return {QDATA: q.codes, SCALE: q.scale, ZERO: zero}

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        codes, zero = t[QDATA].view(args.grid.dtype), t.get(ZERO)
        if args.zero is None and zero is not None:
            if zero.any():
                raise ValueError(f"{ZERO} of a symmetric tensor: 0 everywhere expected")
            zero = None
        if isinstance(args.grid, IntGrid) and ((codes < args.grid.qmin) | (codes > args.grid.qmax)).any():
            raise ValueError(f"{QDATA} holds codes beyond {args.grid.qmin} … {args.grid.qmax}")
        return QTensor(codes, t[SCALE], zero, with_scales_of(args, t[SCALE]))
