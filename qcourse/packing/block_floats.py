"""How block floats lie in files: NVFP4 in two dialects, and the MX family. Codes E2M1 two a byte, low nibble first.

    nvfp4-pack-quantized   weight_packed uint8 (N, K/2) · weight_scale E4M3 (N, K/16) ·
                           weight_global_scale fp32 (1): it *divides*; s = weight_scale / weight_global_scale;
                           with 4-bit activations also input_global_scale fp32 (1), which divides, too
    modelopt-nvfp4         weight uint8 (N, K/2) · weight_scale E4M3 (N, K/16) ·
                           weight_scale_2 fp32 (): it *multiplies*; s = weight_scale · weight_scale_2; input_scale likewise
    mxfp4-pack-quantized   weight_packed uint8 (N, K/2) · weight_scale uint8 (N, K/32) = exponent + 127
    mxfp6-pack-quantized   weight_packed uint8 (N, 3K/4), four E2M3 codes in three bytes · weight_scale
    mxfp8-quantized        weight E4M3 (N, K) · weight_scale

Source: compressed-tensors 0.20, `compressors/`; ModelOpt 0.47, `qtensor/nvfp4_tensor.py` (tests/interop). Notebook 05.
"""

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.formats import MXFP4_ARGS, NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.grids import FloatGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.packing import bits
from qcourse.packing.layout import Cut, Layout, Slot
from qcourse.shapes import Tensor


class BlockFloat(Layout):
    """What all have in common: codes packed along K, one byte of scale a block. weight: the name of the codes."""

    def __init__(self, name: str, args: QuantizationArgs, weight: str = "weight_packed"):
        self.name, self.args, self.weight = name, args, weight

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """Raises ValueError for other args than this format's, or when the block does not divide K."""
        if not args.same_storage(self.args):
            self.refuse_direction(args)
            raise ValueError(
                f"{self.name} holds {self.args.grid}, {self.args.granularity}; not {args.grid}, {args.granularity}"
            )
        args.granularity.check(K)
        G, B = args.group_size, args.num_bits
        per, size = (1, 1) if B == 8 else (2, 1) if B == 4 else (4, 3)
        code = torch.float8_e4m3fn if B == 8 else torch.uint8
        return {
            self.weight: Slot((N, K // per * size), (code,), {"N": Cut(0), "K": Cut(1, per, size)}),
            "weight_scale": Slot((N, K // G), (self.scale_dtype,), {"N": Cut(0), "K": Cut(1, G)}),
        }

    def refuse_direction(self, args: QuantizationArgs) -> None:
        """Raise ValueError for NVFP4 whose upper scale goes the other way."""
        for mine, other, how in ((NVFP4_ARGS, NVFP4_MODELOPT, "inverse"), (NVFP4_MODELOPT, NVFP4_ARGS, "absmax")):
            if self.args.same_storage(mine) and args.same_storage(other):
                right, wrong = ("divides", "multiplies") if how == "inverse" else ("multiplies", "divides")
                raise ValueError(
                    f"the scale of the whole tensor {wrong} here, and {self.name} stores one that {right}: its reciprocal "
                    f"is another float. Quantize with formats.nvfp4({how!r})"
                )

    @property
    def scale_dtype(self) -> torch.dtype:
        """E8M0 is stored as bytes, E4M3 under its own name."""
        return torch.uint8 if not isinstance(self.args.scale, QuantizationArgs) else torch.float8_e4m3fn

    def codes(self, q: QTensor) -> Tensor:
        """Codes → bytes."""
        return q.codes.view(torch.float8_e4m3fn) if q.args.num_bits == 8 else bits.pack_bytes(q.codes, q.args.num_bits)

    def uncoded(self, t: Tensor, args: QuantizationArgs, K: int) -> Tensor:
        """Bytes → codes."""
        return t.view(torch.uint8) if args.num_bits == 8 else bits.unpack_bytes(t, args.num_bits, K)

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        return {self.weight: self.codes(q), "weight_scale": q.scale}

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        return QTensor(self.uncoded(t[self.weight], args, K), t["weight_scale"], None, args)


class Nvfp4(BlockFloat):
    """The scales lie under a number of their own, `above`, which divides or multiplies."""

    def __init__(self, name: str, weight: str, above: str, divides: bool):
        super().__init__(name, NVFP4_ARGS if divides else NVFP4_MODELOPT, weight)
        self.above, self.divides = above, divides
        self.input_scale = "input_global_scale" if divides else "input_scale"

    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """Also the number above."""
        one, other = ((1,), ()) if self.divides else ((), (1,))
        return super().slots(args, N, K) | {self.above: Slot(one, (torch.float32,), also=(other,))}

    def _pack(self, q: QTensor) -> dict[str, Tensor]:
        above = (1 / q.scale.scale).float().reshape(1) if self.divides else q.scale.scale.reshape(())
        return {
            self.weight: self.codes(q), "weight_scale": q.scale.codes.view(torch.float8_e4m3fn), self.above: above,
        }  # fmt: skip

    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        above = t[self.above].reshape(1, 1)
        if not (torch.isfinite(above) & (above > 0)).all():
            raise ValueError(f"{self.above} is {above.item()}: a positive number expected")
        if self.divides:  # the reciprocal in fp64: its own reciprocal, rounded to fp32, is the stored number again
            above = 1 / above.double()
        scale = QTensor(t["weight_scale"].view(torch.uint8), above, None, args.scale)
        return QTensor(self.uncoded(t[self.weight], args, K), scale, None, args)


def block_float_layouts(mx: dict[str, FloatGrid]) -> list[Layout]:
    """NVFP4 in both dialects, and the MX formats of these names and grids."""
    return [
        Nvfp4("nvfp4-pack-quantized", "weight_packed", "weight_global_scale", divides=True),
        Nvfp4("modelopt-nvfp4", "weight", "weight_scale_2", divides=False),
        *(BlockFloat(name, MXFP4_ARGS.with_(grid=grid), "weight" if grid.num_bits == 8 else "weight_packed")
          for name, grid in mx.items()),
    ]  # fmt: skip
