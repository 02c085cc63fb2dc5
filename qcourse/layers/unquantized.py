"""No quantization: the weight as it was trained. The baseline that every other format is measured against."""

import torch
import torch.nn.functional as F
from torch import nn

from qcourse.gemm.half import half_matmul
from qcourse.layers.method import LinearMethodBase


class UnquantizedLinearMethod(LinearMethodBase):
    """W (N, K) in bf16, fp16 or fp32, multiplied by torch itself."""

    def create_weights(
        self, layer, input_size_per_partition, output_partition_sizes, input_size, output_size, params_dtype, **extra
    ) -> None:
        """Register `weight` (N, K) in `params_dtype`."""
        shape = (sum(output_partition_sizes), input_size_per_partition)
        layer.weight = nn.Parameter(torch.empty(shape, dtype=params_dtype))
        layer.weight.output_dim, layer.weight.input_dim = 0, 1  # how a loader cuts it for several ranks

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ W.T + bias; a bf16 weight under fp32 activations is widened, which is exact."""
        return half_matmul(x, layer.weight, bias)

    def embedding(self, layer: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """The rows, in the weight's dtype."""
        return F.embedding(ids, layer.weight)

    def dequantized(self, layer: nn.Module) -> torch.Tensor:
        """The weight in fp32."""
        return layer.weight.detach().float()
