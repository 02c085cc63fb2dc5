"""What a quantization format promises the model: vLLM's contract, in vLLM's words.

The model owns a `Linear` and calls `quant_method.apply(layer, x)`. Everything else (which tensors exist,
how they are packed, which kernel runs) is the method's business, so a new format never touches the model.
Signatures of `QuantizeMethodBase` / `LinearMethodBase` / `QuantizationConfig` of vLLM 0.32
(`model_executor/layers/quantization/base_config.py`, `layers/linear.py`).
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import nn


class LinearMethodBase(ABC):
    """How one format stores a weight and multiplies by it. Life of a layer: create → load → process → apply."""

    @abstractmethod
    def create_weights(
        self,
        layer: nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs,
    ) -> None:
        """Register on `layer` the tensors that the checkpoint will fill, for this partition of W (output_size, input_size):
        K = input_size_per_partition, N = the sum of output_partition_sizes (several where q, k, v are one layer)."""

    def process_weights_after_loading(self, layer: nn.Module) -> None:  # noqa: B027
        """Once, after loading: quantize or repack into what the kernel reads. The kernel is chosen here."""

    @abstractmethod
    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ W.T + bias, for x (..., K) → y (..., N) in x's dtype."""

    def embedding(self, layer: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """Rows of W for ids (...) → (..., K); a format that has nothing quicker decodes all of W."""
        return F.embedding(ids, self.dequantized(layer))

    @abstractmethod
    def dequantized(self, layer: nn.Module) -> torch.Tensor:
        """Ŵ (N, K) in fp32: what the layer multiplies by."""


class QuantizationConfig(ABC):
    """A format's settings, parsed from a checkpoint's `quantization_config`; hands each layer its method."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict) -> "QuantizationConfig":
        """Parse the JSON dict. Raises ValueError naming the key and what is legal."""

    @abstractmethod
    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """The method for the layer called `prefix` (e.g. "model.layers.0.mlp.down_proj")."""

    def get_embedding_method(self, prefix: str) -> LinearMethodBase | None:
        """The method for an embedding of that name; None: it stays in 16 or 32 bits, as in most formats."""
        return None
