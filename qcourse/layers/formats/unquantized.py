"""No quantization: the weight as it was trained. The baseline that every other format is measured against."""

import torch
import torch.nn.functional as F
from torch import nn

from qcourse.layers.method import LinearMethodBase, QuantizationConfig


class UnquantizedLinearMethod(LinearMethodBase):
    """W (N, K) in bf16 (or fp32), multiplied by torch itself."""

    def create_weights(self, layer: nn.Module, output_size: int, input_size: int, dtype: torch.dtype) -> None:
        """Register `weight` (N, K) in `dtype`."""
        layer.weight = nn.Parameter(torch.empty(output_size, input_size, dtype=dtype))

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ W.T + bias; a bf16 weight under fp32 activations is widened, which is exact."""
        weight = layer.weight if layer.weight.dtype == x.dtype else layer.weight.to(x.dtype)
        return F.linear(x, weight, bias)


class UnquantizedConfig(QuantizationConfig):
    """`{"quant_method": "unquantized"}`: every layer keeps its 16-bit weight."""

    name = "unquantized"

    @classmethod
    def from_config(cls, config: dict) -> "UnquantizedConfig":
        """Takes no settings."""
        return cls()

    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """The same method for every layer."""
        return UnquantizedLinearMethod()
