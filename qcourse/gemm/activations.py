"""Activations in low bits, on the way into a product: a scale for each token, or one fixed beforehand.

dynamic   the scale is computed from the token itself: no calibration, one extra pass over x
static    one scale for all tokens, a tensor of the file: cheapest, and at the mercy of the loudest channel
local     NVFP4: each 16 values find their own small scale, under a static number above
"""

import torch

from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Float, Tensor


def check_input_scale(scale: Tensor, name: str = "input_scale") -> Float[Tensor, "1 1"]:
    """A static scale as (1, 1) fp32. Raises ValueError unless it is one positive, finite, normal number."""
    if not isinstance(scale, Tensor) or not scale.dtype.is_floating_point or scale.numel() != 1:
        raise ValueError(f"{name} is {scale!r}: one floating-point number expected")
    value = scale.float().reshape(1, 1)
    if not (torch.isfinite(value) & (value >= torch.finfo(torch.float32).tiny)).all():
        raise ValueError(f"{name} is {value.item():.3g}: a positive, finite scale expected; calibrate again")
    return value


def quantize_input(x: Float[Tensor, "M K"], args: QuantizationArgs, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """x (M, K) → codes, and their scale (M, 1), or the static (1, 1). Static codes saturate beyond the calibrated range.

    Raises ValueError for NaN or inf in x: a code for it would be a silent wrong number.
    """
    if scale is None:
        q = quantize(x, args, "the layer's input")
        return q.codes, q.scale
    if not torch.isfinite(x).all():
        index = tuple(torch.nonzero(~torch.isfinite(x))[0].tolist())
        raise ValueError(f"the layer's input holds {x[index].item()} at index {index}: only finite values can be quantized")
    return args.grid.encode(x.float() / scale), scale


def fake_quantize_input(
    x: Float[Tensor, "*lead K"], args: QuantizationArgs, scale: Tensor | None
) -> Float[Tensor, "*lead K"]:
    """x̂ in x's dtype, for products that have no codes of x to multiply. Raises what `quantize_input` raises."""
    if scale is None or args.dynamic == "local":
        return dequantize(quantize(x, args, "the layer's input", above=scale), x.dtype)
    codes, scale = quantize_input(x.reshape(-1, x.shape[-1]), args, scale)
    return (args.grid.decode(codes) * scale).to(x.dtype).view(x.shape)
