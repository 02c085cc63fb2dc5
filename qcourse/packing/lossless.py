"""The same values under another recipe: what has to change before another layout can hold a weight, and loses nothing.

Every function takes a QTensor and returns one that dequantizes to the same numbers (`multiplying` and `dividing`: to half a
unit in the last place of its one upper scale), or raises ValueError saying what would be lost. Used by
`checkpoints.dialect_writers`.
"""

from dataclasses import replace

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.formats import NVFP4_ARGS, NVFP4_LOCAL, NVFP4_MODELOPT, NVFP4_MODELOPT_LOCAL
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.packing import bits
from qcourse.shapes import Tensor


def half_scales(q: QTensor, rounding: bool = False) -> QTensor:
    """Scales as fp16, which GPTQ's and AWQ's readers expect. Raises ValueError where one is not a number of fp16; with
    `rounding` only where fp16 makes 0, inf or a coarse subnormal of it (an error of more than 2^-10)."""
    if q.scale.dtype == torch.float16:
        return q
    half, wide = q.scale.half(), q.scale.float()
    lost = (half.float() - wide).abs() > wide.abs() * (2**-10 if rounding else 0)
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} of {lost.numel()} scales are no numbers of fp16 (the first: {q.scale[lost][0].item():.6g}), "
            "which this ecosystem stores"
        )
    return replace(q, scale=half, args=q.args.with_(scale=torch.float16))


def unsigned_where_needed(q: QTensor) -> QTensor:
    """Signed codes with zero points → unsigned ones: both move by 2^(B-1), so nothing changes."""
    if q.zero_point is None or not q.args.grid.signed:
        return q
    B, grid = q.args.num_bits, IntGrid(q.args.num_bits, signed=False)
    args = q.args.with_(grid=grid, zero=grid)
    return replace(q, codes=bits.to_unsigned(q.codes, B), zero_point=bits.to_unsigned(q.zero_point, B), args=args)


def signed_where_needed(q: QTensor) -> QTensor:
    """The way back: unsigned codes with zero points → signed ones."""
    if q.zero_point is None or q.args.grid.signed:
        return q
    B, grid = q.args.num_bits, IntGrid(q.args.num_bits)
    args = q.args.with_(grid=grid, zero=grid)
    return replace(q, codes=bits.to_signed(q.codes, B), zero_point=bits.to_signed(q.zero_point, B), args=args)


def with_zero_points(q: QTensor) -> QTensor:
    """Symmetric codes as unsigned ones with the zero point 2^(B-1) everywhere: s·(q - 0) = s·((q + 8) - 8)."""
    if q.zero_point is not None:
        return unsigned_where_needed(q)
    B, grid = q.args.num_bits, IntGrid(q.args.num_bits, signed=False)
    zero = torch.full(q.scale.shape, 1 << (B - 1), dtype=torch.uint8)
    return QTensor(
        bits.to_unsigned(q.codes, B), q.scale, zero, q.args.with_(grid=grid, zero=grid, scaling="minmax"), q.order
    )


def multiplying(q: QTensor) -> QTensor:
    """NVFP4's upper scale the other way round: fp32(1/g); codes and E4M3 scales stay."""
    if not q.args.same_storage(NVFP4_ARGS):
        return q
    above = normal(q.scale.scale.float(), "1/weight_global_scale")
    return replace(q, scale=replace(q.scale, scale=above, args=NVFP4_MODELOPT.scale), args=NVFP4_MODELOPT)


def dividing(q: QTensor) -> QTensor:
    """The way back: g = fp32(1/t), as compressed-tensors stores it."""
    if not q.args.same_storage(NVFP4_MODELOPT):
        return q
    g = normal((1 / q.scale.scale.double()).float(), "1/weight_scale_2")
    return replace(q, scale=replace(q.scale, scale=1 / g.double(), args=NVFP4_ARGS.scale), args=NVFP4_ARGS)


def normal(above: Tensor, name: str) -> Tensor:
    """A number above all scales, turned. Raises ValueError where fp32 has no such number but inf, 0 or a subnormal."""
    if not (torch.isfinite(above) & (above >= torch.finfo(torch.float32).tiny)).all():
        raise ValueError(f"{name} is {above.item():g} in fp32: this number has no reciprocal there that could be stored")
    return above


def multiplying_scheme(scheme: QuantizationScheme) -> QuantizationScheme:
    """The scheme of what `multiplying` makes, activations included."""
    return turned(scheme, {NVFP4_ARGS: NVFP4_MODELOPT, NVFP4_LOCAL: NVFP4_MODELOPT_LOCAL})


def dividing_scheme(scheme: QuantizationScheme) -> QuantizationScheme:
    """The scheme of what `dividing` makes, activations included."""
    return turned(scheme, {NVFP4_MODELOPT: NVFP4_ARGS, NVFP4_MODELOPT_LOCAL: NVFP4_LOCAL})


def turned(scheme: QuantizationScheme, other: dict[QuantizationArgs, QuantizationArgs]) -> QuantizationScheme:
    """NVFP4 in the other direction; any other scheme as it is."""
    sides = scheme.weights, scheme.input_activations
    new = (next((b for a, b in other.items() if args is not None and args.same_storage(a)), args) for args in sides)
    return QuantizationScheme(*new)
