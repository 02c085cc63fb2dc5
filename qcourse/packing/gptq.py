"""GPTQ's tensors (AutoGPTQ, GPTQModel): everything transposed, words along K.

    qweight int32 (K·B/32, N)      first code lowest, along K; dense for 3 bits
    qzeros  int32 (K/G, N·B/32)    along N; version 1 stores z - 1, version 2 stores z
    scales  fp16  (K/G, N)         g_idx int32 (K): the group of each input channel, in any order when act_order

A symmetric file has z = 2^(B-1) everywhere and stores it all the same. Here symmetric codes are signed and have no zeros.
Source: GPTQModel `nn_modules/qlinear`; facts proven by files of its own packer (tests/checkpoints). Notebook 02 §4.
"""

import torch

from qcourse.numerics.grids import IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing import bits, layouts
from qcourse.packing.compressed_tensors import whole_words
from qcourse.packing.layout import HALF_FIRST, Cut, Layout, Slot, only_plain, uncut, with_scales_of
from qcourse.packing.order import g_idx_of, order_of, sorted_codes, unsorted_codes
from qcourse.shapes import Tensor


class Gptq(Layout):
    """`version` 1 or 2: how zero points are stored."""

    def __init__(self, version: int):
        self.version, self.name = version, "gptq" if version == 1 else "gptq_v2"

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """Raises ValueError for what GPTQ files do not hold, and for N or K that do not fill whole words."""
        if not isinstance(args.grid, IntGrid) or args.granularity.rows != 1:
            raise ValueError(
                f"{self.name} holds integers with a scale a row or a group; not {args.grid}, {args.granularity}"
            )
        only_plain(args, self.name)
        args.granularity.check(K)
        B, G = args.num_bits, args.group_size or K
        codes, words = whole_words(B)
        for axis, size in (("K", K), ("N", N)):
            layouts.whole_words(axis, size, B)
        groups = {"K": Cut(0, G)} if args.group_size else {}  # one scale a row belongs to every part of it
        return {
            "qweight": Slot((K * B // 32, N), (torch.int32,), {"N": Cut(1), "K": Cut(0, codes, words)}),
            "qzeros": Slot((K // G, N * B // 32), (torch.int32,), {"N": Cut(1, codes, words)} | groups),
            "scales": Slot((K // G, N), HALF_FIRST, {"N": Cut(1)} | groups),
            "g_idx": Slot((K,), (torch.int32, torch.int64), {"K": uncut(K)}, optional=True),
        }

    def restated(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Tensor]:
        """g_idx where there is no act_order."""
        return {"g_idx": g_idx_of(None, args.group_size, K)}

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        B = q.args.num_bits
        codes = unsorted_codes(bits.to_unsigned(q.codes, B), q.order)
        zeros = torch.full(q.scale.shape, 1 << (B - 1), dtype=torch.uint8) if q.zero_point is None else q.zero_point
        return {
            "qweight": layouts.pack_gptq(codes, B),
            "qzeros": layouts.pack_gptq_zeros(zeros, B, self.version),
            "scales": q.scale.T.contiguous(),
            "g_idx": g_idx_of(q.order, q.args.group_size, q.shape[1]),
        }

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        B = args.num_bits
        order = order_of(t["g_idx"], args.group_size) if "g_idx" in t else None
        codes = sorted_codes(layouts.unpack_gptq(t["qweight"], B), order)
        zeros = layouts.unpack_gptq_zeros(t["qzeros"], B, self.version)
        scale = t["scales"].T.contiguous()
        if args.zero is None:
            if (zeros != 1 << (B - 1)).any():
                raise ValueError(f"qzeros of a symmetric file: {1 << (B - 1)} everywhere expected, version {self.version}")
            return QTensor(bits.to_signed(codes, B), scale, None, with_scales_of(args, scale), order)
        return QTensor(codes, scale, zeros, with_scales_of(args, scale), order)


def stored_version(qzeros: Tensor, args: QuantizationArgs, said: int) -> int:
    """Which version the zeros of a file really have: 1 or 2. Many files say "gptq" and hold version 2.

    Symmetric zeros are known (2^(B-1), or one less), so they decide. With zero points, a stored 2^B - 1 cannot be version 1
    (z would be 2^B); otherwise what the config said holds. Raises ValueError for symmetric zeros that fit neither.
    """
    B = args.num_bits
    stored = bits.unpack_words(qzeros, B, qzeros.shape[-1] * 32 // B)
    half = 1 << (B - 1)
    if args.zero is None:
        for version, z in ((1, half - 1), (2, half)):
            if (stored == z).all():
                return version
        raise ValueError(f"qzeros of a symmetric file: {half - 1} (version 1) or {half} (version 2) everywhere expected")
    return 2 if (stored == (1 << B) - 1).any() else said
