"""AWQ's tensors (AutoAWQ's "gemm"): words along N, eight columns interleaved 0,2,4,6,1,3,5,7.

    qweight int32 (K, N/8) · qzeros int32 (K/G, N/8), the same order, z itself · scales fp16 (K/G, N)

Source: AutoAWQ `utils/packing_utils.py`; equal to its own unpacking (tests/checkpoints). Notebook 02 §4.
"""

import torch

from qcourse.numerics.grids import IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing import bits, layouts
from qcourse.packing.layout import HALF_FIRST, Cut, Layout, Slot, only_plain, with_scales_of
from qcourse.shapes import Tensor


class Awq(Layout):
    """4-bit groups, as a rule with zero points."""

    name = "awq"

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """Raises ValueError for other than 4-bit integers in groups, and unless N is a multiple of 8."""
        if not isinstance(args.grid, IntGrid) or args.num_bits != 4 or args.granularity.rows != 1:
            raise ValueError(f"the AWQ layout holds 4-bit codes in groups; not {args.grid}, {args.granularity}")
        only_plain(args, self.name)
        args.granularity.check(K)
        layouts.whole_words("N", N, 4)
        G = args.group_size or K
        groups = {"K": Cut(0, G)} if args.group_size else {}  # one scale a row belongs to every part of it
        found = {"qweight": Slot((K, N // 8), (torch.int32,), {"N": Cut(1, 8), "K": Cut(0)})}
        found["qzeros"] = Slot((K // G, N // 8), (torch.int32,), {"N": Cut(1, 8)} | groups, optional=args.zero is None)
        return found | {"scales": Slot((K // G, N), HALF_FIRST, {"N": Cut(1)} | groups)}

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        if q.order is not None:
            raise ValueError("the AWQ layout has no act_order: its groups are neighbours")
        zeros = torch.full(q.scale.shape, 8, dtype=torch.uint8) if q.zero_point is None else q.zero_point
        codes = bits.to_unsigned(q.codes, 4)
        return {
            "qweight": layouts.pack_awq(codes),
            "qzeros": layouts.pack_awq_zeros(zeros),
            "scales": q.scale.T.contiguous(),
        }

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        codes, scale = layouts.unpack_awq(t["qweight"]), t["scales"].T.contiguous()
        args = with_scales_of(args, scale)
        zeros = layouts.unpack_awq_zeros(t["qzeros"]) if "qzeros" in t else None
        if args.zero is not None:
            return QTensor(codes, scale, zeros, args)
        if zeros is not None and (zeros != 8).any():
            raise ValueError("qzeros of a file without zero points: 8 everywhere expected")
        return QTensor(bits.to_signed(codes, 4), scale, None, args)
