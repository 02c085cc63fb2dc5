"""The formats of compressed-tensors, by its own names: what `quantization_config.format` says.

    pack-quantized         weight_packed int32 (N, ceil(K·B/32)), codes + 2^(B-1) along K, dense (3 bits: 32 in 3)
                           weight_scale (N, K/G) · weight_zero_point int32 (ceil(N·B/32), K/G), along N · weight_shape
    int-quantized          weight int8 (N, K) · weight_scale · weight_zero_point int8
    float-quantized        weight E4M3 (N, K) · weight_scale, by block (ceil(N/128), ceil(K/128))
    fp8                    the same in DeepSeek's words: weight_scale_inv, which *multiplies* in spite of its name

The formats of block floats (NVFP4 and the MX family) are in `block_floats`.
One scale for all of W is stored as (1,). `weight_g_idx` (K) is the act_order of older files.
Source: compressed-tensors 0.20, `compressors/` (proven by its own files: tests/checkpoints). Notebook 02 §4.
"""

from dataclasses import replace

import torch

from qcourse.numerics.granularity import per_channel, per_tensor
from qcourse.numerics.grids import E4M3, IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing import bits
from qcourse.packing.layout import Cut, Layout, Slot, only_plain, scale_slot, uncut, with_scales_of
from qcourse.packing.order import g_idx_of, order_of, sorted_codes, unsorted_codes
from qcourse.shapes import Tensor

SINGLE = {"also": ((1,), ())}  # one scale for the whole matrix


def single(scale: Tensor, args: QuantizationArgs, N: int, K: int) -> Tensor:
    """(1,) or () → (1, 1)."""
    return scale.reshape(args.granularity.scales(N, K))


class Quantized(Layout):
    """int-quantized and float-quantized: one code in one byte. scale: the name of the scales."""

    def __init__(self, name: str, dtype: torch.dtype, scale: str = "weight_scale"):
        self.name, self.dtype, self.scale = name, dtype, scale

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """weight, weight_scale, weight_zero_point. Raises ValueError for a grid that is not this format's."""
        if (
            isinstance(args.grid, IntGrid) != (self.dtype == torch.int8)
            or args.grid.dtype != torch.int8
            and args.grid != E4M3
        ):
            raise ValueError(f"{self.name} holds {self.dtype} codes, not {args.grid}")
        only_plain(args, self.name)
        args.granularity.check(K)
        by_row = {"also": ((N,),)} if args.granularity == per_channel else {}  # as ModelOpt writes it
        scale = scale_slot(args, N, K, **SINGLE if args.granularity == per_tensor else by_row)
        found = {"weight": Slot((N, K), (self.dtype,), {"N": Cut(0), "K": Cut(1)}), self.scale: scale}
        if args.zero is not None:
            found["weight_zero_point"] = replace(scale, dtypes=(torch.int8,))
        return found

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        flat = (lambda t: t.reshape(1)) if q.args.granularity == per_tensor else lambda t: t
        found = {"weight": q.codes.view(self.dtype), self.scale: flat(q.scale)}
        return found if q.zero_point is None else found | {"weight_zero_point": flat(q.zero_point)}

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        scale = single(t[self.scale], args, N, K)
        zero = None if args.zero is None else single(t["weight_zero_point"], args, N, K)
        return QTensor(t["weight"].view(args.grid.dtype), scale, zero, with_scales_of(args, scale))


class PackQuantized(Layout):
    """pack-quantized: 2 to 8 bits in dense int32 words."""

    name = "pack-quantized"

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """Raises ValueError for a grid that is not integers, or when G does not divide K."""
        if not isinstance(args.grid, IntGrid):
            raise ValueError(f"pack-quantized holds integers, not {args.grid}")
        only_plain(args, self.name)
        args.granularity.check(K)
        B, scale = args.num_bits, scale_slot(args, N, K, **SINGLE if args.granularity == per_tensor else {})
        along_k = Cut(1, *whole_words(B))
        found = {
            "weight_packed": Slot((N, -(-K * B // 32)), (torch.int32,), {"N": Cut(0), "K": along_k}),
            "weight_scale": scale,
            "weight_shape": Slot((2,), (torch.int64, torch.int32), optional=True),
            "weight_g_idx": Slot((K,), (torch.int32, torch.int64), {"K": uncut(K)}, optional=True),
        }
        if args.zero is not None:
            R, C = scale.shape
            cuts = {"N": Cut(0, *whole_words(B))} | ({"K": scale.cuts["K"]} if "K" in scale.cuts else {})
            found["weight_zero_point"] = Slot((-(-R * B // 32), C), (torch.int32,), cuts)
        return found

    def restated(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Tensor]:
        """weight_shape, and weight_g_idx where there is no act_order."""
        return {"weight_shape": torch.tensor([N, K]), "weight_g_idx": g_idx_of(None, args.group_size, K)}

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        B, codes = q.args.num_bits, unsorted_codes(bits.to_unsigned(q.codes, q.args.num_bits), q.order)
        scale = q.scale.reshape(1) if q.args.granularity == per_tensor else q.scale
        found = {"weight_packed": bits.pack_words(codes, B), "weight_scale": scale, "weight_shape": torch.tensor(q.shape)}
        if q.zero_point is not None:
            found["weight_zero_point"] = bits.pack_words(q.zero_point.T.contiguous(), B).T.contiguous()
        if q.order is not None:
            found["weight_g_idx"] = g_idx_of(q.order, q.args.group_size)
        return found

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        if "weight_shape" in t and t["weight_shape"].tolist() != [N, K]:
            raise ValueError(f"weight_shape says {t['weight_shape'].tolist()}: [{N}, {K}] expected")
        order = order_of(t["weight_g_idx"], args.group_size) if "weight_g_idx" in t else None
        codes = sorted_codes(bits.unpack_words(t["weight_packed"], args.num_bits, K), order)
        scale = single(t["weight_scale"], args, N, K)
        zero = None
        if args.zero is not None:
            words = t["weight_zero_point"].T.contiguous()
            zero = bits.unpack_words(words, args.num_bits, scale.shape[0]).T.contiguous()
        codes = codes if args.grid.dtype == torch.uint8 else bits.to_signed(codes, args.num_bits)
        return QTensor(codes, scale, zero, with_scales_of(args, scale), order)


def whole_words(num_bits: int) -> tuple[int, int]:
    """(codes, words): the fewest codes of B bits that fill whole int32 words; 4 bits: (8, 1), 3 bits: (32, 3)."""
    codes = next(n for n in (4, 8, 16, 32) if n * num_bits % 32 == 0)
    return codes, codes * num_bits // 32
