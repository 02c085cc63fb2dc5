"""Weights and activations in 8 bits, for the int8 and fp8 formats: quantize x on the way in, multiply, rescale.

dynamic   a scale for each token, computed from the token itself: no calibration, one extra pass over x
static    one scale for all tokens, fixed beforehand: cheapest, and at the mercy of the loudest channel
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from qcourse.gemm.w8a8 import fp8_matmul, int8_matmul
from qcourse.layers.formats.unquantized import UnquantizedLinearMethod
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.numerics.grids import FloatGrid
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import QuantizationScheme


class W8A8LinearMethod(LinearMethodBase):
    """`qweight` (N, K) 8-bit codes, `scale` (N or 1, 1), and for static schemes `input_scale` (1, 1)."""

    def __init__(self, scheme: QuantizationScheme, input_scale: float | None = None):
        self.scheme, self.input_scale = scheme, input_scale

    def create_weights(self, layer: nn.Module, output_size: int, input_size: int, dtype: torch.dtype) -> None:
        """Register `weight` in 16 bits for loading."""
        layer.weight = nn.Parameter(torch.empty(output_size, input_size, dtype=dtype))

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """16-bit weight → codes and scale; the static input scale becomes a tensor of the layer."""
        q = quantize(layer.weight.data, self.scheme.weights, f"{layer.prefix}.weight")
        del layer.weight
        layer.register_buffer("qweight", q.codes)
        layer.register_buffer("scale", q.scale.float())
        static = None if self.input_scale is None else torch.full((1, 1), self.input_scale, device=q.codes.device)
        layer.register_buffer("input_scale", static)

    def quantize_input(self, layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (M, K) → codes, and their scale (M, 1) or (1, 1). Static codes saturate beyond the calibrated range."""
        args = self.scheme.input_activations
        if layer.input_scale is None:
            q = quantize(x, args, f"input of {layer.prefix}")
            return q.codes, q.scale
        codes = args.grid.encode_(x.float() / layer.input_scale)
        return codes.to(args.grid.dtype), layer.input_scale

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = (x_q @ w_q.T) · s_x · s_w + bias, in x's dtype."""
        if x.numel() == 0:  # no tokens: nothing to find a scale of
            return x.new_empty(*x.shape[:-1], layer.output_size)
        codes, s_x = self.quantize_input(layer, x.reshape(-1, x.shape[-1]))
        if isinstance(self.scheme.weights.grid, FloatGrid):
            y = fp8_matmul(codes, layer.qweight, s_x, layer.scale)
        else:
            y = int8_matmul(codes, layer.qweight).float().mul_(s_x).mul_(layer.scale.T)
        y = y.to(x.dtype).unflatten(0, x.shape[:-1])
        return y if bias is None else y + bias


@dataclass
class W8A8Config(QuantizationConfig):
    """One scheme for every layer that is not ignored; `input_scales` (prefix → scale) makes it static."""

    scheme: QuantizationScheme
    input_scales: dict[str, float] | None = None
    ignore: tuple[str, ...] = field(default=("lm_head",))
    name: str = "w8a8"

    @classmethod
    def from_config(cls, config: dict) -> "W8A8Config":
        """W8A8 is reached through `int8` and `fp8`."""
        raise ValueError("w8a8 has no config of its own: use int8 (activation_scheme) or fp8")

    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """Raises ValueError for a layer without a static input scale, when the scheme is static."""
        if self.is_ignored(prefix):
            return UnquantizedLinearMethod()
        if self.input_scales is None:
            return W8A8LinearMethod(self.scheme)
        if prefix not in self.input_scales:
            raise ValueError(f"{prefix}: activation_scheme 'static' needs its input scale; calibrate first (input_scales)")
        return W8A8LinearMethod(self.scheme, self.input_scales[prefix])


def check_scheme(name: str, scheme: str | None, input_scales: dict | None, legal: tuple) -> None:
    """Raise ValueError for an unknown activation scheme, or static without scales (and the reverse)."""
    if scheme not in legal:
        raise ValueError(f"{name} activation_scheme {scheme!r}: one of {', '.join(map(repr, legal))}")
    if (scheme == "static") != (input_scales is not None):
        raise ValueError(f"{name}: input_scales belong to activation_scheme 'static', and only there")
