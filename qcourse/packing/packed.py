"""A quantized weight as bytes: what a kernel is handed. `pack(q)` goes up the stairs, `unpack(p)` comes back."""

from dataclasses import dataclass

from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing import bits, layouts
from qcourse.shapes import Shaped, Tensor


def pack_row(codes: Tensor, num_bits: int) -> Tensor:
    """(N, K) unsigned codes → (N, ceil(K·B/8)) bytes, row by row: the plainest layout, ours for the CPU."""
    return bits.pack_bytes(codes, num_bits)


LAYOUTS = {  # name: (pack(codes, B), unpack(words, B, N, K))
    "row": (pack_row, lambda w, b, N, K: bits.unpack_bytes(w, b, K)),
    "compressed-tensors": (layouts.pack_compressed_tensors, lambda w, b, N, K: layouts.unpack_compressed_tensors(w, K, b)),
    "gptq": (layouts.pack_gptq, lambda w, b, N, K: layouts.unpack_gptq(w, b)),
    "awq": (lambda c, b: layouts.pack_awq(c), lambda w, b, N, K: layouts.unpack_awq(w)),
}


@dataclass(frozen=True)
class PackedWeight:
    """data: packed codes, in `layout` · scale (N or 1, groups) · zero_point · shape (N, K) · args: how it was made."""

    data: Shaped[Tensor, "..."]
    scale: Tensor
    zero_point: Tensor | None
    shape: tuple[int, int]
    args: QuantizationArgs
    layout: str = "row"

    @property
    def nbytes(self) -> int:
        """Measured bytes as they lie in memory: packed codes, scales, and zero points at a byte each."""
        return sum(t.untyped_storage().nbytes() for t in (self.data, self.scale, self.zero_point) if t is not None)


def pack(q: QTensor, layout: str = "row") -> PackedWeight:
    """Pack the codes of q (N, K). Signed codes are offset by 2^(B-1) first, so that every layout holds unsigned ones.

    Raises ValueError for an unknown layout (listing the known), for AWQ with other than 4 bits, and what the
    layout's own packer raises.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: one of {', '.join(LAYOUTS)}")
    if layout == "awq" and q.args.num_bits != 4:
        raise ValueError(f"the AWQ layout holds 4-bit codes, not {q.args.num_bits}-bit ones")
    if q.codes.dim() != 2:
        raise ValueError(f"codes of shape {tuple(q.codes.shape)}: a weight (N, K) expected")
    data = LAYOUTS[layout][0](bits.to_unsigned(q.codes, q.args.num_bits), q.args.num_bits)
    return PackedWeight(data, q.scale, q.zero_point, tuple(q.codes.shape), q.args, layout)


def unpack(p: PackedWeight) -> QTensor:
    """The QTensor that was packed, bit for bit."""
    codes = LAYOUTS[p.layout][1](p.data, p.args.num_bits, *p.shape)
    if p.args.grid.dtype != codes.dtype:
        codes = bits.to_signed(codes, p.args.num_bits)
    return QTensor(codes, p.scale, p.zero_point, p.args)
