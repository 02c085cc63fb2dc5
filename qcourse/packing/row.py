"""Our own layouts: `row` for kernels that unpack (bytes of packed codes), `plain` for those that multiply codes.

row     qweight uint8 (N, ceil(K·B/8))   unsigned codes, packed along K, low nibble first (the bytes of compressed-tensors)
words   the same, every row padded to whole 32-bit words
plain   qweight int8 or uint8 (N, K)     the codes themselves
all     scale (R, C) · zero_point (R, C), a byte each, or the dtype that zero points in weight units have · order (K)
"""

import torch

from qcourse.numerics.grids import Grid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing import bits
from qcourse.packing.layout import Cut, Layout, Slot, scale_slot, uncut, with_scales_of
from qcourse.shapes import Tensor


class Plain(Layout):
    """Codes, scales and zero points as they are."""

    name = "plain"

    def qweight(self, args: QuantizationArgs, N: int, K: int) -> Slot:
        """The slot of the codes."""
        return Slot((N, K), (args.grid.dtype,), {"N": Cut(0), "K": Cut(1)})

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """qweight, scale, and where there are any zero_point and order. Raises ValueError when G does not divide K."""
        args.granularity.check(K)
        scale = scale_slot(args, N, K)
        found = {"qweight": self.qweight(args, N, K), "scale": scale}
        if args.zero is not None:
            dtypes = (args.zero.dtype,) if isinstance(args.zero, Grid) else scale.dtypes
            found["zero_point"] = Slot(scale.shape, dtypes, scale.cuts)
        return found | {"order": Slot((K,), (torch.int64,), {"K": uncut(K)}, optional=True)}

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        tensors = {"qweight": self.encode(q), "scale": q.scale, "zero_point": q.zero_point, "order": q.order}
        return {name: t for name, t in tensors.items() if t is not None}

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        codes = self.decode(t["qweight"], args, K)
        return QTensor(codes, t["scale"], t.get("zero_point"), with_scales_of(args, t["scale"]), t.get("order"))

    def encode(self, q: QTensor) -> Tensor:
        """Codes → qweight."""
        return q.codes

    def decode(self, qweight: Tensor, args: QuantizationArgs, K: int) -> Tensor:
        """qweight → codes (N, K)."""
        return qweight


class Row(Plain):
    """Packed codes, row by row; a row ends on a multiple of `unit` bytes."""

    def __init__(self, name: str = "row", unit: int = 1):
        self.name, self.unit = name, unit

    def qweight(self, args: QuantizationArgs, N: int, K: int) -> Slot:
        """The slot of the codes."""
        size = -(-K * args.num_bits // (8 * self.unit)) * self.unit
        return Slot((N, size), (torch.uint8,), {"N": Cut(0), "K": Cut(1, 8 * self.unit, args.num_bits * self.unit)})

    def encode(self, q: QTensor) -> Tensor:
        """Codes → packed bytes, signed codes offset by 2^(B-1)."""
        packed = bits.pack_bytes(bits.to_unsigned(q.codes, q.args.num_bits), q.args.num_bits)
        return torch.nn.functional.pad(packed, (0, -packed.shape[1] % self.unit))

    def decode(self, qweight: Tensor, args: QuantizationArgs, K: int) -> Tensor:
        """Packed bytes → codes (N, K)."""
        codes = bits.unpack_bytes(qweight[:, : -(-K * args.num_bits // 8)], args.num_bits, K)
        return codes if args.grid.dtype == torch.uint8 else bits.to_signed(codes, args.num_bits)
